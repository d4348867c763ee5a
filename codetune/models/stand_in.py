"""Tiny random models that stand in for published ones, so that a study of those runs to its end where they are not.

    python -m codetune.models.stand_in FOLDER < wanted.json        {"models": [names], "texts": [to train the tokenizer on]}

A stand-in has its family's class, its ways with heads, windows, positions and special tokens, and weights by chance: what it answers says
nothing of the model. Larger models have larger stand-ins. A model that is on this machine gets none. It is a process of its own, as
making a model takes torch; what was made is one JSON object on stdout, names to folders. The same texts make the same files.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from codetune.config import content_hash
from codetune.models.families import family_of
from codetune.models.load import attention_of, auto_model, no_dropout, quiet
from codetune.models.names import ALIASES
from codetune.models.published import SHAPES, Shape, is_here
from codetune.runs import read_json, whole_folder, write_json

VOCABULARY = 1000  # bytes, the special tokens and what merges the texts give
MADE_BY = "stand-in.json"  # in a stand-in's folder: what it stands for, and the hash of all that determines it
_HEADS = 4
_WIDTHS = ("n_embd", "hidden_size", "d_model")
_INNER = ("intermediate_size", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner")
_HEAD_COUNTS = ("n_head", "num_attention_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads")
_LAYERS = ("n_layer", "num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
_PAIRS = ("t5", "plbart")
_OPENED = ("llama", "mistral", *_PAIRS)  # whose tokenizers put <s> before a text of their own accord
_BOUNDED = (*_OPENED, "codegpt")  # whose texts end with </s>; all others' with <|endoftext|>


def make_stand_ins(names: Sequence[str], texts: Sequence[str], home: Path) -> dict[str, str]:
    """A folder below `home` for every model that is not on this machine. Names without a published shape are for others to refuse."""
    short = {hub: alias for alias, hub in ALIASES.items()}
    found: dict[str, str] = {}
    for name in names:
        alias = name if name in SHAPES else short.get(name, "")
        if alias in SHAPES and not is_here(name):
            found[name] = str(_stand_in(alias, texts, home / alias))
    return found


def shrunk(shape: Shape, vocabulary: int) -> Shape:
    """A published shape with four heads, few layers and a narrow stream. Of two models of a family the larger stays the larger.

    >>> shrunk(SHAPES["mistral-7b"], 1000)["num_key_value_heads"]
    1
    """
    width = next(shape[key] for key in _WIDTHS if key in shape)
    heads = next(shape[key] for key in _HEAD_COUNTS if key in shape)
    narrow = 64 if width <= 800 else 96 if width <= 1300 else 128
    less: Shape = {"vocab_size": vocabulary}
    for key, value in shape.items():
        if key in _WIDTHS:
            less[key] = narrow
        elif key in _INNER:
            less[key] = round(value / width * narrow)
        elif key in _HEAD_COUNTS:
            less[key] = _HEADS
        elif key in _LAYERS:
            less[key] = min(4, max(2, value // 12))
        elif key == "num_key_value_heads":
            less[key] = max(1, _HEADS * value // heads)
        elif key in ("head_dim", "d_kv"):
            less[key] = narrow // _HEADS
        elif key == "rotary_dim":
            less[key] = narrow // _HEADS // 2
    return shape | less


def tokenizer_like(model_type: str, texts: Sequence[str]) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE trained on the texts, with the special tokens of a family and its habit of putting them around a text."""
    bounded = model_type in _BOUNDED
    specials = ["<pad>", "<s>", "</s>", "<unk>", "__python__"] if bounded else ["<|endoftext|>", "<|pad|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    if model_type in _OPENED:
        around = "<s> $A </s>" if model_type in _PAIRS else "<s> $A"
        ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    bos, eos, pad = ("<s>", "</s>", "<pad>") if bounded else ("<|endoftext|>", "<|endoftext|>", "<|pad|>")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token=pad)


def _stand_in(alias: str, texts: Sequence[str], folder: Path) -> Path:
    """The stand-in of a model; what an earlier call made of the same texts is taken as it is."""
    determined = {"stands_for": alias, "hash": content_hash([SHAPES[alias], VOCABULARY, texts, transformers.__version__, 1])}
    made_by = folder / MADE_BY
    if made_by.exists() and read_json(made_by) == determined:
        return folder
    shape = SHAPES[alias]
    habit = "codegpt" if alias.startswith("codegpt") else str(shape["model_type"])
    tokenizer = tokenizer_like(habit, texts)
    config = transformers.AutoConfig.for_model(**shrunk(shape, len(tokenizer)))
    config.bos_token_id, config.eos_token_id, config.pad_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    if config.is_encoder_decoder:
        config.decoder_start_token_id, config.forced_eos_token_id = tokenizer.pad_token_id, None
    no_dropout(config)
    torch.manual_seed(zlib.crc32(alias.encode()))
    model = auto_model(family_of(config)).from_config(config, attn_implementation=attention_of(config))
    with whole_folder(folder) as being_made:
        model.save_pretrained(being_made)
        tokenizer.save_pretrained(being_made)
        write_json(being_made / MADE_BY, determined)
    return folder


def main() -> None:
    quiet()
    wanted = json.load(sys.stdin)
    print(json.dumps(make_stand_ins(wanted["models"], wanted["texts"], Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
