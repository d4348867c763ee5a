"""Forecasts of training's memory against what a process really held, in processes of their own: minutes, so slow."""

from __future__ import annotations

import sys

import pytest
import transformers
from pydantic import TypeAdapter

from codetune.batches import full_rows
from codetune.config import MethodConfig, TrainConfig
from codetune.train.dry_run import documents_of, measured_in_child
from codetune.train.memory import forecast_memory

CONFIG = transformers.LlamaConfig(
    vocab_size=16000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8, max_position_embeddings=1024,
    tie_word_embeddings=True,
)  # fmt: skip  # 33 million


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's peak can be reset on Linux alone")
@pytest.mark.parametrize("method", ["full", "lora", "prompt_tuning"])
def test_forecast_is_within_a_tenth_of_what_is_held(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With glibc told to give back what is freed: what its heap holds and cannot use is no part of a forecast."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings: MethodConfig = TypeAdapter(MethodConfig).validate_python({"name": method})
    batch, train = full_rows(2, 512), TrainConfig(batch_tokens=1024, micro_batch_size=2, max_seq_len=512)
    found = measured_in_child(CONFIG, settings, train, documents_of(batch), "cpu")
    forecast = forecast_memory(CONFIG, settings, train, [batch])
    assert found.before + forecast.training - forecast.process == pytest.approx(found.peak, rel=0.1)
