"""A whole run with compiled layers: what is checked of it is checked of its adapter loaded anew, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch._dynamo.testing import CompileCounterWithBackend

from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.models import compiled
from codetune.train.finetune import finetune
from codetune.train.subject import settle_method
from tests.exactness.wide import saved, wide_config


def recipe(base: Path, **train: object) -> TrainRecipe:
    budget = {"train_tokens": 800, "batch_tokens": 400, "max_seq_len": 200, "validations": 1, "precision": "bf16", "compile": True}
    data = {"source": "basics", "max_examples": 12, "validation_examples": 4}
    given = {"name": "x", "model": str(base), "data": data, "method": "full", "train": budget | train}
    return TrainRecipe.model_validate(given)


@pytest.mark.slow
def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = CompileCounterWithBackend("eager")
    monkeypatch.setattr(compiled, "BACKEND", counter)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(wide_config("gpt2", vocab_size=8192, n_positions=512))
    base = saved(model, tmp_path / "base")
    with pytest.raises(UserError, match=r"use train.parallel=ddp"):
        settle_method(recipe(base, parallel="fsdp"))
    found, plain = (finetune(recipe(base, compile=chosen), tmp_path / str(chosen)) for chosen in (True, False))
    assert counter.frame_count > 0
    assert (found["checks"]["moved_frozen_tensors"], found["checks"]["reload_difference"]) == (0, 0)
    assert found["first_loss"] == pytest.approx(plain["first_loss"], rel=5e-3)
    assert found["last_loss"] == pytest.approx(plain["last_loss"], rel=5e-3)
    assert finetune(recipe(base, compile=False), tmp_path / "True") == found, "a run may go on without"
