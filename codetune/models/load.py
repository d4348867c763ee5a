"""Load a model and its tokenizer by name: the shipped one, a folder, or a hub id."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file

from codetune.config import Architecture, Quantize
from codetune.errors import UserError
from codetune.models.attention import use_document_attention
from codetune.models.families import Family, family_of
from codetune.models.merge import merge_adapters
from codetune.models.names import resolve
from codetune.models.quantized import nf4_config, plain_linears, require_blocks, settle
from codetune.models.seq2seq import with_marks
from codetune.models.stages import staged_hash, stages_of
from codetune.prompts.infill import Marks, marks_of
from codetune.prompts.template import AUSTIN_3SHOT, STYLES, Template, make_template
from codetune.records import Problem

Halved = Callable[[Any], Iterable[torch.nn.Parameter]]


class TextTokenizer:
    """A transformers tokenizer behind the two encodings that codetune needs; see `data.encode.Tokenizer` and `BatchTokenizer`."""

    def __init__(self, tokenizer: Any) -> None:
        self.inner = tokenizer
        # Whether a text starts with BOS is the tokenizer's own habit: many a Llama's has one that it never puts there.
        bos = tokenizer.bos_token_id
        self.bos_id: int | None = bos if bos is not None and tokenizer("x").input_ids[:1] == [bos] else None
        if tokenizer.eos_token_id is None:
            raise UserError("this tokenizer has no EOS token, so a model tuned with it could never stop")
        self.eos_id: int = tokenizer.eos_token_id
        self.name_hash = hashlib.sha256(repr(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()[:16]
        first = tokenizer.convert_ids_to_tokens(tokenizer.encode("x", add_special_tokens=False))[0]
        self._anchor = "\n" if first.startswith("\u2581") else ""  # SentencePiece puts a space before a text's first word
        self._anchor_ids = len(tokenizer.encode(self._anchor, add_special_tokens=False)) if self._anchor else 0

    @property
    def chat_template(self) -> str | None:
        template = self.inner.chat_template
        return template if isinstance(template, str) else None

    @property
    def bos_token(self) -> str:
        return self.inner.bos_token or ""

    @property
    def eos_token(self) -> str:
        return self.inner.eos_token or ""

    @property
    def vocabulary(self) -> dict[str, int]:
        """All tokens as the tokenizer writes them, special ones included."""
        found: dict[str, int] = self.inner.get_vocab()
        return found

    @property
    def styles(self) -> tuple[str, ...]:
        """The prompt styles that it can ask in; the one with worked examples of its own is for a benchmark."""
        return tuple(style for style in STYLES if style != AUSTIN_3SHOT and (style != "chat" or self.chat_template is not None))

    @cached_property
    def infill_marks(self) -> Marks | None:
        """What the family writes around a hole; None where it knows no infilling."""
        return marks_of(self.vocabulary)

    def template(self, style: str, examples: Sequence[Problem] = ()) -> Template:
        """A prompt style with this tokenizer's chat template and marks. Raises UserError as `make_template` does."""
        return make_template(style, self.chat_template, examples, self.bos_token, self.eos_token)

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        ids: list[int] = self.inner.encode(text, add_special_tokens=False, split_special_tokens=not marks)
        return [self.bos_id, *ids] if with_bos and self.bos_id is not None else ids

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        return self.encode(self._anchor + text, with_bos=False, marks=marks)[self._anchor_ids :]

    def encode_starts(self, texts: Sequence[str], marks: bool = False) -> list[list[int]]:
        """`encode` of each, without BOS."""
        backend = getattr(self.inner, "backend_tokenizer", None)
        if backend is None:  # a tokenizer written in Python
            return [self.encode(text, with_bos=False, marks=marks) for text in texts]
        backend.encode_special_tokens = not marks
        return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_continuations(self, texts: Sequence[str], marks: bool = False) -> list[list[int]]:
        """`encode_continuation` of each."""
        return [ids[self._anchor_ids :] for ids in self.encode_starts([self._anchor + text for text in texts], marks)]

    def decode_after(self, prompt_ids: list[int], ids: list[int]) -> str:
        """The text that `ids` add to the prompt's, exact also where a token alone would lose its leading space."""
        tail = prompt_ids[-4:]
        before = self.inner.decode(tail, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        both: str = self.inner.decode(tail + ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return both[len(before) :]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal LM in float32 or as asked, its tokenizer, and its family's facts."""

    name: str
    model: Any
    tokenizer: TextTokenizer
    family: Family
    model_hash: str
    weights_format: str = "fp32"  # what the hash is over: fp32, bf16, nf4 (the rest in fp32) or nf4+bf16

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's EOS, and those of the model's own generation config (a chat model's end of turn)."""
        config = getattr(self.model, "generation_config", None)
        own = getattr(config, "eos_token_id", None)
        return frozenset([self.tokenizer.eos_id, *([own] if isinstance(own, int) else own or ())])

    def template(self, style: str, examples: Sequence[Problem] = ()) -> Template:
        """A prompt style with this tokenizer's chat template and marks. Raises UserError as `make_template` does."""
        return self.tokenizer.template(style, examples)


_KEPT: dict[tuple[str, torch.dtype], LoadedModel] = {}  # models that somebody is about to ask for


def load_tokenizer(name: str) -> TextTokenizer:
    """A model's tokenizer alone. Raises UserError in one line where it cannot be had."""
    where = resolve(stages_of(name).base)
    quiet()
    try:
        return TextTokenizer(transformers.AutoTokenizer.from_pretrained(where, trust_remote_code=False))
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"cannot load the tokenizer of {name!r}: {reason_of(error)}") from None


def read_config(name: str) -> tuple[Any, Family]:
    """A model's config, with dropout 0, and its family's facts; no weights are read. Raises UserError where it cannot be had or tuned."""
    where = resolve(stages_of(name).base)
    quiet()
    try:
        config = transformers.AutoConfig.from_pretrained(where, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load model {name!r}: {reason_of(error)}") from None
    no_dropout(config)
    return config, family_of(config)


def load_model(
    name: str, dtype: torch.dtype = torch.float32, device: str = "cpu", quantize: Quantize = "none", compute: torch.dtype | None = None,
    halved: Halved | None = None,
) -> LoadedModel:  # fmt: skip
    """The model with dropout 0 and attention that takes our masks. Raises UserError in one line where it cannot be had.

    With `nf4` its linear layers but the LM head are in 4 bits, multiplied in `compute`, and the rest is in `dtype`.
    An earlier run's folder, or an adapter, is its base with the adapter merged in (`codetune.models.stages`), in fp32, then rounded once.
    `halved` are parameters of a model in fp32 that are wanted in bf16 all the same: they are so before the model is on the device, and in
    main memory at once where they are stored so.
    """
    if quantize == "none" and (here := _KEPT.pop((name, dtype), None)):
        if halved is not None:
            halve(here.model, halved(here.model))
        return replace(here, model=here.model.to(device))
    stages, (config, family) = stages_of(name), read_config(name)
    if stages.adapters and quantize == "nf4":
        raise UserError(f"{name} is a run, which cannot be merged in 4 bits: codetune export {name} --to merged --out DIR, then that DIR")
    where, tokenizer = resolve(stages.base), load_tokenizer(name)
    loaded_in = torch.promote_types(dtype, torch.float32) if stages.adapters else dtype
    directly = halved is not None and not stages.adapters and stored_in_bf16(where)
    settings: dict[str, Any] = {"dtype": torch.bfloat16 if directly else loaded_in, "attn_implementation": attention_of(config)}
    if quantize == "nf4":
        require_blocks(name, auto_model(family), config)
        settings |= {"quantization_config": nf4_config(compute or dtype), "device_map": {"": device}}
    try:
        with plain_linears() if quantize == "nf4" else contextlib.nullcontext():
            model = auto_model(family).from_pretrained(where, config=config, **settings)
            if directly and any(buffer.dtype == torch.bfloat16 for buffer in model.buffers()):  # Gemma's scale: a number not in the file
                model = auto_model(family).from_pretrained(where, config=config, **settings | {"dtype": loaded_in})
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load model {name!r}: {reason_of(error)}") from None
    found, kept = staged_hash(model_hash(model), stages.adapters), "bf16" if dtype == torch.bfloat16 else "fp32"
    if quantize == "nf4":
        settle(model, compute or dtype)
        kept = "nf4+bf16" if kept == "bf16" else "nf4"
    else:
        if stages.adapters:
            model = merge_adapters(model, stages.adapters).to(dtype)
            model.name_or_path = name  # an adapter tuned on it will say so: it fits nothing less
        if halved is not None:
            halve(model, halved(model))
        model = model.to(device)
    use_document_attention(model)
    return LoadedModel(name, model, tokenizer, with_marks(family, config, tokenizer.inner), found, kept)


def keep_model(name: str, dtype: torch.dtype = torch.float32) -> None:
    """Load a model into main memory for the next `load_model` that asks for it, in this process or, each on its own, in those that it
    forks: they share the weights that none of them changes. It is the only one that is kept. Raises UserError."""
    if (name, dtype) in _KEPT:
        return
    _KEPT.clear()
    _KEPT[name, dtype] = load_model(name, dtype)


def forget_models(but: str = "") -> None:
    """Give back the memory of models that are kept, but for the one called so."""
    for key in [key for key in _KEPT if key[0] != but]:
        del _KEPT[key]


def halve(model: Any, chosen: Iterable[torch.nn.Parameter]) -> None:
    """These parameters in bf16 and all others in fp32, one after the other."""
    own = set(map(id, chosen))
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(torch.bfloat16 if id(parameter) in own else torch.float32)
    model.config.dtype = torch.float32  # as it is for a model that was loaded so


def stored_in_bf16(where: str) -> bool:
    """Whether all of a model's weights are in bf16 where they are kept, as safetensors: then bf16 loses nothing of them."""
    try:
        index = cached_file(where, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False)
        names = set(json.loads(Path(index).read_text())["weight_map"].values()) if index else {SAFE_WEIGHTS_NAME}
        files = [cached_file(where, name, _raise_exceptions_for_missing_entries=False) for name in sorted(names)]
    except OSError:
        return False  # what loads the model says why
    return all(file is not None and _types_in(Path(file)) <= {"BF16"} for file in files)


def _types_in(file: Path) -> set[str]:
    with safe_open(file, "pt") as tensors:
        return {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118


def auto_model(family: Family) -> Any:
    """The class of transformers that makes such a model with its LM head."""
    return transformers.AutoModelForSeq2SeqLM if family.encoder_decoder else transformers.AutoModelForCausalLM


def new_model(tokenizer_folder: Path, architecture: Architecture, seed: int) -> LoadedModel:
    """A Llama-architecture model with random weights, and the tokenizer in a folder."""
    quiet()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tokenizer_folder))
    config = transformers.LlamaConfig(
        vocab_size=architecture.vocab_size, hidden_size=architecture.hidden_size, intermediate_size=architecture.intermediate_size,
        num_hidden_layers=architecture.num_layers, num_attention_heads=architecture.num_heads, num_key_value_heads=architecture.num_heads,
        max_position_embeddings=architecture.max_positions, tie_word_embeddings=True, rms_norm_eps=1e-5,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    use_document_attention(model)
    return LoadedModel("new", model, TextTokenizer(tokenizer), family_of(config), model_hash(model))


def attention_of(config: Any) -> str:
    """The attention to load a model with: SDPA, or what CodeGen and others of its age have alone."""
    kind = transformers.AutoModelForCausalLM._model_mapping.get(type(config), None)
    return "sdpa" if kind is None or kind._supports_sdpa else "eager"


def no_dropout(config: Any) -> None:
    """Dropout 0 everywhere: GPT-2's config says 0.1 in three places, and methods could then not be compared."""
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)


def model_hash(model: Any) -> str:
    """A short hash of names, shapes and a sample of every weight: tells models apart without reading them whole."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        sample = parameter.detach().flatten()[:: max(1, parameter.numel() // 64)][:64].float().cpu().contiguous()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def quiet() -> None:
    """No bars and no advice from transformers: what matters is said in our own words."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)


def reason_of(error: Exception) -> str:
    """Why a model could not be loaded, in one line that says what to do."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text or "`codet5p`" in text:
        return "it needs code from its hub page, which codetune does not run; give a model of an architecture that transformers has"
    if "sentencepiece" in text.lower():
        return "its tokenizer needs the package sentencepiece (pip install sentencepiece)"
    if "gated" in text.lower() or "401" in text or "403" in text:
        return "it is gated: accept its licence on its hub page, then run `hf auth login`"
    if "connect" in text.lower() or "offline" in text.lower() or "couldn't" in text.lower() or "not a local folder" in text.lower():
        return "not on this machine and the hub was not reached (or has no such model): give a folder, or go online once"
    return text[:300]
