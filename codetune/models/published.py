"""The shapes of models that the field compares, as their configs have them: a plan needs no download.

Sizes are those of each model's config.json on its hub page; parameter counts are checked against the published ones in
tests/models/test_published.py. Only what shapes depend on is here: no weights, no tokenizer, no licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import try_to_load_from_cache

from codetune.models.names import ALIASES, SHIPPED

Shape = dict[str, Any]


def _gpt2(layers: int, width: int, heads: int, vocabulary: int = 50257) -> Shape:
    return {"model_type": "gpt2", "n_layer": layers, "n_embd": width, "n_head": heads, "vocab_size": vocabulary, "n_positions": 1024}


def _llama(
    layers: int, width: int, heads: int, inner: int, vocabulary: int, positions: int, kv_heads: int | None = None, **more: Any
) -> Shape:
    found = {
        "model_type": "llama", "num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads, "intermediate_size": inner,
        "vocab_size": vocabulary, "max_position_embeddings": positions, "num_key_value_heads": kv_heads or heads,
    }  # fmt: skip
    return found | more


def _qwen(model_type: str, layers: int, width: int, heads: int, inner: int, kv_heads: int, tied: bool, **more: Any) -> Shape:
    shape = _llama(layers, width, heads, inner, 151936, 32768, kv_heads)
    return shape | {"model_type": model_type, "tie_word_embeddings": tied, "use_sliding_window": False} | more


def _codegen(layers: int, width: int, heads: int, rotary: int) -> Shape:
    return {
        "model_type": "codegen", "n_layer": layers, "n_embd": width, "n_head": heads, "rotary_dim": rotary, "vocab_size": 51200,
        "n_positions": 2048, "tie_word_embeddings": False,
    }  # fmt: skip


def _starcoder2(layers: int, width: int, heads: int, inner: int, kv_heads: int) -> Shape:
    shape = _llama(layers, width, heads, inner, 49152, 16384, kv_heads)
    return shape | {"model_type": "starcoder2", "sliding_window": 4096, "use_bias": True, "tie_word_embeddings": True}


def _big_code(layers: int, width: int, heads: int, positions: int, vocabulary: int) -> Shape:
    return {
        "model_type": "gpt_bigcode", "n_layer": layers, "n_embd": width, "n_head": heads, "n_inner": 4 * width, "n_positions": positions,
        "vocab_size": vocabulary, "multi_query": True,
    }  # fmt: skip


def _phi(layers: int, width: int, heads: int, share: float) -> Shape:
    return _llama(layers, width, heads, 4 * width, 51200, 2048) | {"model_type": "phi", "partial_rotary_factor": share}


def _t5(layers: int, width: int, heads: int, inner: int, head_dim: int = 64) -> Shape:
    return {
        "model_type": "t5", "num_layers": layers, "num_decoder_layers": layers, "d_model": width, "num_heads": heads, "d_ff": inner,
        "d_kv": head_dim, "vocab_size": 32100,
    }  # fmt: skip


_FALCON_7B: Shape = {
    "model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71, "vocab_size": 65024,
    "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False, "alibi": False, "bias": False,
}  # fmt: skip
_MISTRAL_7B = _llama(32, 4096, 32, 14336, 32000, 32768, 8) | {"model_type": "mistral", "sliding_window": 4096}
_CODELLAMA = {
    "7b": _llama(32, 4096, 32, 11008, 32016, 16384), "13b": _llama(40, 5120, 40, 13824, 32016, 16384),
    "34b": _llama(48, 8192, 64, 22016, 32000, 16384, 8),
}  # fmt: skip

SHAPES: dict[str, Shape] = {
    "gpt2": _gpt2(12, 768, 12),
    "gpt2-medium": _gpt2(24, 1024, 16),
    "gpt2-large": _gpt2(36, 1280, 20),
    "gpt2-xl": _gpt2(48, 1600, 25),
    "codegpt": _gpt2(12, 768, 12, 50001),
    "codegpt-adapted": _gpt2(12, 768, 12, 50260),
    "falcon-7b": _FALCON_7B,
    "falcon-7b-instruct": _FALCON_7B,
    "mistral-7b": _MISTRAL_7B,
    "mistral-7b-instruct": _MISTRAL_7B,
    **{f"codellama-{size}": shape for size, shape in _CODELLAMA.items()},
    "codellama-7b-instruct": _CODELLAMA["7b"],
    "codellama-13b-instruct": _CODELLAMA["13b"],
    "codellama-34b-instruct": _CODELLAMA["34b"],
    "llama-2-7b": _llama(32, 4096, 32, 11008, 32000, 4096),
    "llama-2-13b": _llama(40, 5120, 40, 13824, 32000, 4096),
    "llama-3-8b": _llama(32, 4096, 32, 14336, 128256, 8192, 8),
    "llama-3.1-8b": _llama(32, 4096, 32, 14336, 128256, 131072, 8),
    "llama-3.2-1b": _llama(16, 2048, 32, 8192, 128256, 131072, 8, head_dim=64, tie_word_embeddings=True),
    "llama-3.2-3b": _llama(28, 3072, 24, 8192, 128256, 131072, 8, head_dim=128, tie_word_embeddings=True),
    "codegen-350m": _codegen(20, 1024, 16, 32),
    "codegen-2b": _codegen(32, 2560, 32, 64),
    "codegen-6b": _codegen(33, 4096, 16, 64),
    "codegen-16b": _codegen(34, 6144, 24, 64),
    "qwen2.5-coder-0.5b": _qwen("qwen2", 24, 896, 14, 4864, 2, True),
    "qwen2.5-coder-1.5b": _qwen("qwen2", 28, 1536, 12, 8960, 2, True),
    "qwen2.5-coder-3b": _qwen("qwen2", 36, 2048, 16, 11008, 2, True),
    "qwen2.5-coder-7b": _qwen("qwen2", 28, 3584, 28, 18944, 4, False) | {"vocab_size": 152064},
    "qwen2.5-coder-14b": _qwen("qwen2", 48, 5120, 40, 13824, 8, False) | {"vocab_size": 152064},
    "qwen2.5-coder-32b": _qwen("qwen2", 64, 5120, 40, 27648, 8, False) | {"vocab_size": 152064},
    "starcoder2-3b": _starcoder2(30, 3072, 24, 12288, 2),
    "starcoder2-7b": _starcoder2(32, 4608, 36, 18432, 4),
    "starcoder2-15b": _starcoder2(40, 6144, 48, 24576, 4),
    "starcoder": _big_code(40, 6144, 48, 8192, 49152),
    "starcoderbase-1b": _big_code(24, 2048, 16, 8192, 49152),
    "santacoder": _big_code(24, 2048, 16, 2048, 49280),
    "deepseek-coder-1.3b": _llama(24, 2048, 16, 5504, 32256, 16384),
    "deepseek-coder-6.7b": _llama(32, 4096, 32, 11008, 32256, 16384),
    "deepseek-coder-33b": _llama(62, 7168, 56, 19200, 32256, 16384, 8),
    "phi-1": _phi(24, 2048, 32, 0.5),
    "phi-1.5": _phi(24, 2048, 32, 0.5),
    "phi-2": _phi(32, 2560, 32, 0.4),
    "codet5-small": _t5(6, 512, 8, 2048),
    "codet5-base": _t5(12, 768, 12, 3072),
    "codet5-large": _t5(24, 1024, 16, 4096),
    "codet5p-220m": _t5(12, 768, 12, 3072),
    "codet5p-770m": _t5(24, 1024, 16, 4096),
    "plbart-base": {
        "model_type": "plbart", "encoder_layers": 6, "decoder_layers": 6, "d_model": 768, "encoder_attention_heads": 12,
        "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "vocab_size": 50005,
    },
}  # fmt: skip


def published_config(name: str) -> Any | None:
    """The config of a model by its short name or hub id; None where its shape is not here."""
    short = {hub: alias for alias, hub in ALIASES.items()}
    shape = SHAPES.get(name) or SHAPES.get(short.get(name, ""))
    if shape is None:
        return None
    return transformers.AutoConfig.for_model(**shape)


def is_here(name: str) -> bool:
    """Whether a model's config is on this machine: shipped, in a folder, or in the hub's cache. Unknown names are for others to refuse."""
    if name in SHIPPED or Path(name).exists():
        return True
    return isinstance(try_to_load_from_cache(ALIASES.get(name, name), "config.json"), str) if published_config(name) is not None else True
