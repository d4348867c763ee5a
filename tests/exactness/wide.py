"""Tiny models of each family, wide enough for what works on blocks: 4-bit weights of 64, 8-bit moments of 256 from 4,096 on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

from codetune.models.attention import use_document_attention
from codetune.models.families import Family, family_of
from codetune.models.load import no_dropout
from codetune.models.names import SHIPPED
from tests.exactness.tiny import config_of

WIDTH = 64
_SHAPES: dict[str, dict[str, int]] = {
    "gpt2": {"n_embd": WIDTH},
    "falcon": {"hidden_size": WIDTH, "ffn_hidden_size": 2 * WIDTH},
    "llama": {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "head_dim": WIDTH // 4},
    "mistral": {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "head_dim": WIDTH // 4},
}


def wide_config(family: str, **shape: int) -> Any:
    config = config_of(family)
    no_dropout(config)
    for key, value in (_SHAPES[family] | shape).items():
        setattr(config, key, value)
    return config


def wide(family: str, seed: int = 0) -> tuple[Any, Family]:
    """In float32."""
    torch.manual_seed(seed)
    config = wide_config(family)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.15 if "wte" not in name and "embed" not in name else 1.0)
            elif "bias" in name:
                parameter.normal_(0, 0.1)
    use_document_attention(model)
    return model, family_of(config)


def saved(model: Any, folder: Path) -> Path:
    """A model's folder as the hub has it, with a tokenizer (another model's: it is there to be loaded)."""
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(SHIPPED["codetune-base"] / name, folder / name)
    return folder
