"""Whole runs under every policy: what is saved is what was trained, to the last bit, and what is frozen stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.models.open import open_model
from codetune.train.finetune import finetune
from tests.exactness.wide import saved, wide_config

LORA, NF4 = {"name": "lora", "lora_rank": 4}, {"name": "lora", "lora_rank": 4, "quantize": "nf4"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with the vocabulary of the tokenizer beside it."""
    torch.manual_seed(0)
    config = wide_config("gpt2", vocab_size=8192, n_positions=512)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return saved(model, tmp_path_factory.mktemp("base"))


def recipe(base: Path, method: Any, **train: Any) -> TrainRecipe:
    budget = {"train_tokens": 1200, "batch_tokens": 400, "max_seq_len": 200, "validations": 1}
    data = {"source": "basics", "max_examples": 12, "validation_examples": 4}
    return TrainRecipe.model_validate({"name": "x", "model": str(base), "data": data, "method": method, "train": budget | train})


@pytest.mark.parametrize(
    ("method", "train", "base_format"),
    [
        ("full", {"precision": "bf16_weights", "optimizer": "adamw_8bit"}, "bf16"),
        ("full", {"precision": "bf16", "optimizer": "adafactor", "activation_checkpointing": True}, "fp32"),
        (LORA, {"precision": "bf16_weights", "activation_checkpointing": "auto"}, "bf16"),
        ("prefix_tuning", {"precision": "bf16_weights", "activation_checkpointing": True}, "bf16"),
        (NF4, {"precision": "fp32", "activation_checkpointing": True}, "nf4"),
        (NF4, {"precision": "bf16"}, "nf4"),
        (NF4, {"precision": "bf16_weights"}, "nf4+bf16"),
    ],
)
def test_a_run_proves_itself_under_every_policy(method: Any, train: dict[str, Any], base_format: str, base: Path, tmp_path: Path) -> None:
    found = finetune(recipe(base, method, **train), tmp_path, warn=lambda line: None)
    checks = found["checks"]
    assert (found["precision"], found["base_format"], found["device"]) == (train["precision"], base_format, "cpu")
    assert checks["unmoved_trainable_tensors"] == checks["moved_frozen_tensors"] == checks["non_finite_losses"] == 0
    assert checks["reload_difference"] == 0
    assert checks["adapter_effect"] > 0
    assert (": off (" in found.get("activation_checkpointing", "")) == (train.get("activation_checkpointing") == "auto")
    loaded, _ = open_model(str(base), tmp_path)
    assert (getattr(loaded.model, "is_loaded_in_4bit", False)) == base_format.startswith("nf4")


def test_auto_is_recorded_as_what_it_came_to(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for native, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("codetune.models.machine.computes_in_bf16", lambda device, native=native: native)
        assert finetune(recipe(base, LORA, precision="auto"), tmp_path / wanted)["precision"] == wanted


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_said_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    asked = recipe(base, LORA).model_copy(update={"device": "cuda"})
    with pytest.raises(UserError, match="device 'cuda' is not on this machine"):
        finetune(asked, tmp_path / "run")
    assert not (tmp_path / "run").exists()
