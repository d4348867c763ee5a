"""What differs between model families: layers that methods take hold of, heads for prefixes, positions, windows, and what is refused.

Shapes are read off a model's config and layers. What no config says stands in `FAMILIES`, by `model_type`: which layers write into
the stream, and which make keys and values. A type that is not there is tuned by every method that needs none of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from transformers.pytorch_utils import Conv1D

from codetune.errors import UserError
from codetune.methods.targets import Targets

_ALWAYS_ALIBI = {"bloom", "mpt"}
_ENCODER_DECODER = ("plbart", "t5")  # those that the tests prove; CodeT5 and CodeT5+ up to 770M are T5
_ANY_LENGTH = 1 << 20  # T5's positions are relative: no length is too long for them


@dataclass(frozen=True, slots=True)
class Marks:
    """Token ids that an encoder-decoder model gets besides the text; a decoder-only model has none."""

    after_prompt: tuple[int, ...] = ()  # what the encoder reads last
    before_answer: tuple[int, ...] = ()  # what the decoder reads first

    def __len__(self) -> int:
        return len(self.after_prompt) + len(self.before_answer)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a family's code says and its configs do not. Names are suffixes of module paths."""

    attention_output: tuple[str, ...]
    mlp_output: tuple[str, ...]
    keys_values: tuple[str, ...]  # the layers that make them, together with the queries where they are fused
    fused: str = ""  # what one matrix holds of several: one LoRA A serves all of it
    positions: Literal["rotary", "learned", "relative"] = "rotary"


_LLAMA = Facts(("self_attn.o_proj",), ("mlp.down_proj",), ("self_attn.k_proj", "self_attn.v_proj"))
_NEOX = Facts(("attention.dense",), ("mlp.dense_4h_to_h",), ("attention.query_key_value",), "query_key_value: queries, keys and values")
FAMILIES: dict[str, Facts] = {
    "gpt2": Facts(("attn.c_proj",), ("mlp.c_proj",), ("attn.c_attn",), "c_attn: queries, keys and values", "learned"),
    "gpt_bigcode": Facts(("attn.c_proj",), ("mlp.c_proj",), ("attn.c_attn",), "c_attn: queries, keys and values", "learned"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "granite": _LLAMA,
    "starcoder2": Facts(("self_attn.o_proj",), ("mlp.c_proj",), ("self_attn.k_proj", "self_attn.v_proj")),
    "phi": Facts(("self_attn.dense",), ("mlp.fc2",), ("self_attn.k_proj", "self_attn.v_proj")),
    "phi3": Facts(
        ("self_attn.o_proj",), ("mlp.down_proj",), ("self_attn.qkv_proj",), "qkv_proj: queries, keys and values; gate_up_proj: gate and up"
    ),
    "gpt_neox": _NEOX,
    "falcon": Facts(
        ("self_attention.dense",), ("mlp.dense_4h_to_h",), ("self_attention.query_key_value",), "query_key_value: queries, keys and values"
    ),
    "codegen": Facts(("attn.out_proj",), ("mlp.fc_out",), ("attn.qkv_proj",), "qkv_proj: queries, values and keys, in four shards"),
    "t5": Facts(
        ("SelfAttention.o", "EncDecAttention.o"), ("DenseReluDense.wo",),
        ("SelfAttention.k", "SelfAttention.v", "EncDecAttention.k", "EncDecAttention.v"), positions="relative",
    ),
    "plbart": Facts(
        ("self_attn.out_proj", "encoder_attn.out_proj"), ("fc2",),
        ("self_attn.k_proj", "self_attn.v_proj", "encoder_attn.k_proj", "encoder_attn.v_proj"), positions="learned",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """The shape facts that methods, masks and forecasts need."""

    model_type: str
    num_layers: int  # of the decoder
    hidden_size: int
    vocab_size: int
    kv_heads: int  # heads of the keys and values: fewer than query heads in grouped- and multi-query attention
    head_dim: int
    max_positions: int
    sliding_window: int | None  # a query sees keys at most this many positions back, itself included
    encoder_decoder: bool = False
    marks: Marks = Marks()


def family_of(config: Any) -> Family:
    """The facts of a transformers config. Raises UserError for models that packed training would get wrong."""
    if foreign := [name for name in getattr(config, "architectures", None) or () if not hasattr(transformers, name)]:
        raise UserError(f"{foreign[0]} is no architecture of transformers: it needs code from its hub page, which codetune does not run")
    if getattr(config, "is_encoder_decoder", False):
        return _encoder_decoder(config)
    if getattr(config, "alibi", False) or config.model_type in _ALWAYS_ALIBI:
        raise UserError(f"this {config.model_type} model uses ALiBi positions, which cannot be packed exactly; use a rotary one")
    heads = getattr(config, "num_attention_heads", None)
    if not heads:
        raise UserError(f"{config.model_type} is not a plain attention model (state-space, or for more than text); codetune cannot pack it")
    return Family(
        model_type=config.model_type,
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        kv_heads=_kv_heads(config, heads),
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        max_positions=config.max_position_embeddings,
        sliding_window=_window(config),
    )


def _encoder_decoder(config: Any) -> Family:
    """The decoder's facts: it has the cache. Marks are the config's own; `models.load` has the tokenizer's."""
    if config.model_type not in _ENCODER_DECODER:
        known = "t5 (CodeT5, CodeT5+ to 770M) and plbart"
        raise UserError(f"{config.model_type} is an encoder-decoder model; of those codetune tunes {known}, or give a decoder-only model")
    t5 = config.model_type == "t5"
    heads = config.num_heads if t5 else config.decoder_attention_heads
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        start = config.pad_token_id if t5 else config.eos_token_id  # as transformers has it where it shifts labels
    return Family(
        model_type=config.model_type,
        num_layers=config.num_decoder_layers if t5 else config.decoder_layers,
        hidden_size=config.d_model,
        vocab_size=config.vocab_size,
        kv_heads=heads,
        head_dim=config.d_kv if t5 else config.d_model // heads,
        max_positions=_ANY_LENGTH if t5 else config.max_position_embeddings,
        sliding_window=None,
        encoder_decoder=True,
        marks=Marks((config.eos_token_id,), (start,)),
    )


def targets_of(model: torch.nn.Module) -> Targets:
    """Where methods may take hold of a model; on the meta device, too."""
    config: Any = model.config
    family, facts = family_of(config), FAMILIES.get(config.model_type)
    known = facts or Facts((), (), ())
    return Targets(
        linear=tuple(linear_layers(model)),
        attention_output=known.attention_output,
        mlp_output=known.mlp_output,
        ia3=known.keys_values,
        ia3_feedforward=known.mlp_output,
        norms=tuple(sorted(_norms(model))),
        has_biases=any(name.endswith(".bias") and not _is_norm(name, model) for name, _ in model.named_parameters()),
        kv_heads=family.kv_heads,
        head_dim=family.head_dim,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        encoder_decoder=family.encoder_decoder,
    )


def linear_layers(model: torch.nn.Module) -> list[str]:
    """Names of all linear layers but the LM head, as LoRA targets (GPT-2's Conv1D included), deduplicated by leaf."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    leaves = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    return sorted(leaves)


def _norms(model: torch.nn.Module) -> set[str]:
    """Leaf names of norms: LayerNorm and the RMSNorms that each family writes for itself."""
    return {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if type(module).__name__.endswith("Norm") and next(module.parameters(recurse=False), None) is not None
    }


def _is_norm(parameter: str, model: torch.nn.Module) -> bool:
    return type(model.get_submodule(parameter.rpartition(".")[0])).__name__.endswith("Norm")


def _kv_heads(config: Any, heads: int) -> int:
    if config.model_type == "falcon":
        # Falcon-40B's form groups its keys, but its code spreads them over all heads before they reach the cache.
        return 1 if config.multi_query and not config.new_decoder_architecture else heads
    if config.model_type == "gpt_bigcode":
        return 1 if config.multi_query else heads
    return int(getattr(config, "num_key_value_heads", None) or heads)


def _window(config: Any) -> int | None:
    """One window for all layers, or none. Models that mix both kinds of layer would need a mask for each."""
    window = getattr(config, "sliding_window", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return None
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if kinds == {"full_attention"}:
        return None
    if kinds != {"sliding_attention"}:
        raise UserError(f"{config.model_type} mixes layers with and without a sliding window; codetune cannot pack that exactly yet")
    return int(window)
