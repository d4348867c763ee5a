"""Tiny models of every family with its real config class: the shapes that differ, at a size where a step takes milliseconds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_model

from codetune.models.attention import use_document_attention
from codetune.models.load import attention_of, load_model, no_dropout
from codetune.models.names import SHIPPED
from codetune.models.quantized import BLOCK

VOCAB = 61
POSITIONS = 128
WINDOW = 7  # shorter than most documents, so that a window cut wrongly shows


@dataclass(frozen=True, slots=True)
class Form:
    """A family's shape: `config(width)` with heads of width / 4. `stands_for` are the models that people know it by."""

    model_type: str
    stands_for: str
    config: Callable[[int], Any]
    computes_in_fp32: bool = False  # somewhere, whatever the weights are: RMSNorm, CodeGen's attention


def _new(width: int, kv_heads: int = 4, **more: Any) -> dict[str, Any]:
    """The keys that most configs have today."""
    shape = {"vocab_size": VOCAB, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"max_position_embeddings": POSITIONS, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return shape | ends | ({"num_key_value_heads": kv_heads} if kv_heads != 4 else {}) | more


def _old(width: int, **more: Any) -> dict[str, Any]:
    """The keys of GPT-2's time."""
    shape = {"vocab_size": VOCAB, "n_positions": POSITIONS, "n_ctx": POSITIONS, "n_embd": width, "n_layer": 2, "n_head": 4}
    return shape | {"bos_token_id": 0, "eos_token_id": 0} | more


def _falcon(width: int, **more: Any) -> Any:
    shape = {"vocab_size": VOCAB, "hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False, "bias": False}
    return transformers.FalconConfig(**shape, max_position_embeddings=POSITIONS, bos_token_id=0, eos_token_id=0, **more)


def _t5(w: int, **more: Any) -> Any:
    shape = {"vocab_size": VOCAB, "d_model": w, "d_kv": w // 4, "d_ff": 2 * w, "num_layers": 2, "num_heads": 4, "n_positions": POSITIONS}
    return transformers.T5Config(**shape, decoder_start_token_id=0, bos_token_id=1, eos_token_id=2, **more)


def _plbart(w: int) -> Any:
    side = {"layers": 2, "attention_heads": 4, "ffn_dim": 2 * w}
    sides = {f"{name}_{key}": size for name in ("encoder", "decoder") for key, size in side.items()}
    return transformers.PLBartConfig(vocab_size=VOCAB, d_model=w, max_position_embeddings=POSITIONS, forced_eos_token_id=None, **sides)


FORMS: dict[str, Form] = {
    "gpt2": Form("gpt2", "GPT-2, CodeGPT", lambda w: transformers.GPT2Config(**_old(w))),
    "llama": Form("llama", "Llama 2, CodeLlama 7B and 13B, DeepSeek-Coder", lambda w: transformers.LlamaConfig(**_new(w)), True),
    "llama-grouped": Form("llama", "Llama 3, CodeLlama 34B: grouped-query", lambda w: transformers.LlamaConfig(**_new(w, 2)), True),
    "mistral": Form("mistral", "Mistral-7B", lambda w: transformers.MistralConfig(**_new(w, 2, sliding_window=WINDOW)), True),
    "falcon-7b": Form(
        "falcon", "Falcon-7B: multi-query, rotary", lambda w: _falcon(w, multi_query=True, new_decoder_architecture=False)
    ),
    "falcon-40b": Form("falcon", "Falcon-40B: grouped-query", lambda w: _falcon(w, num_kv_heads=2, new_decoder_architecture=True)),
    "qwen2": Form("qwen2", "Qwen2.5, Qwen2.5-Coder", lambda w: transformers.Qwen2Config(**_new(w, 2)), True),
    "qwen3": Form("qwen3", "Qwen3", lambda w: transformers.Qwen3Config(**_new(w, 2, head_dim=w // 2)), True),
    "starcoder2": Form("starcoder2", "StarCoder2", lambda w: transformers.Starcoder2Config(**_new(w, 2, sliding_window=WINDOW))),
    "gpt_bigcode": Form("gpt_bigcode", "StarCoder, SantaCoder", lambda w: transformers.GPTBigCodeConfig(**_old(w, multi_query=True))),
    "gpt_neox": Form("gpt_neox", "GPT-NeoX, Pythia", lambda w: transformers.GPTNeoXConfig(**_new(w))),
    "phi": Form("phi", "Phi-1, 1.5, 2", lambda w: transformers.PhiConfig(**_new(w))),
    "phi3": Form("phi3", "Phi-3, Phi-4", lambda w: transformers.Phi3Config(**_new(w, 2)), True),
    "codegen": Form("codegen", "CodeGen 350M to 16B", lambda w: transformers.CodeGenConfig(**_old(w, rotary_dim=w // 8)), True),
    "gemma": Form("gemma", "Gemma, CodeGemma", lambda w: transformers.GemmaConfig(**_new(w, 2, head_dim=w // 4)), True),
    "t5": Form("t5", "CodeT5, CodeT5+ 220M and 770M", _t5, True),
    "plbart": Form("plbart", "PLBART", _plbart),
    "granite": Form("granite", "Granite", lambda w: transformers.GraniteConfig(**_new(w, 2, logits_scaling=2.0)), True),
}


def build(name: str, dtype: torch.dtype = torch.float64, width: int = 16, seed: int = 0) -> Any:
    """A random model whose weights are large enough that an error in a mask shows in every logit."""
    torch.manual_seed(seed)
    config = FORMS[name].config(width)
    no_dropout(config)
    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation=attention_of(config)).to(dtype)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                scale = 1.0 if "wte" in parameter_name or "embed" in parameter_name else 1.4 / width**0.5
                parameter.normal_(0, scale)
            elif "bias" in parameter_name:
                parameter.normal_(0, 0.1)
    use_document_attention(model)
    return model


def build_in_four_bits(name: str) -> Any:
    """The same as wide as a block of 4-bit weights, saved, and loaded in 4 bits."""
    with tempfile.TemporaryDirectory() as folder:
        model = build(name, torch.float32, width=BLOCK)
        model.config.save_pretrained(folder)  # piece by piece: of several processes, transformers has the first alone save
        save_model(model, str(Path(folder) / "model.safetensors"), {"format": "pt"})
        for file in ("tokenizer.json", "tokenizer_config.json"):  # another model's: it is there to be loaded
            shutil.copyfile(SHIPPED["codetune-base"] / file, Path(folder) / file)
        return load_model(folder, quantize="nf4").model
