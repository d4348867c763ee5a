"""Forecasts of time follow the work; those of memory are in tests/train/test_memory.py, shares in test_published.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from codetune.config import FullConfig, LoraConfig, PrefixTuningConfig, TrainConfig
from codetune.errors import UserError
from codetune.models.forecast import Pass, forecast_seconds, measure_rate
from codetune.models.outline import Outline, outline_of, trained_parameters

SHAPE = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "gpt2": transformers.GPT2Config(
        vocab_size=256, n_positions=256, n_embd=64, n_layer=3, n_head=4, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0, bos_token_id=0,
        eos_token_id=0,
    ),
    "llama": transformers.LlamaConfig(**SHAPE),
    "mistral": transformers.MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=32),
    "falcon": transformers.FalconConfig(
        vocab_size=256, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, multi_query=True, parallel_attn=True, alibi=False,
        new_decoder_architecture=False, bias=False, max_position_embeddings=256,
    ),
}  # fmt: skip


def meta(config: Any) -> Outline:
    with torch.device("meta"):
        return outline_of(transformers.AutoModelForCausalLM.from_config(config))


def test_time_follows_the_work() -> None:
    outline, one = meta(CONFIGS["llama"]), Pass(2, 100, 100)
    fp32 = TrainConfig()
    full = forecast_seconds(outline, FullConfig(), fp32, [one] * 10, [], 1e9)
    products = 200 * (outline.linear_parameters + 2 * 100 * 4 * 16 * 3) + 100 * 64 * 256
    assert full == pytest.approx(10 * 3 * 2 * products / (1e9 * 0.6))
    assert forecast_seconds(outline, PrefixTuningConfig(), fp32, [one] * 10, [], 1e9) < full
    assert forecast_seconds(outline, FullConfig(), fp32, [one] * 10, [one] * 10, 1e9) == pytest.approx(full * 4 / 3)


def test_the_rate_is_measured_on_this_machine() -> None:
    assert 1e6 < measure_rate(meta(CONFIGS["llama"]), TrainConfig(), 64, "cpu", seconds=0.01) < 1e15


def test_unknown_target_modules_are_named() -> None:
    with pytest.raises(UserError, match=r"target_modules \['query'\]: this model's linear layers are down_proj"):
        trained_parameters(meta(CONFIGS["llama"]), LoraConfig(target_modules=("query",)))
