"""A whole run whose frozen weights lie in main memory is the run whose do not: loaded, trained, gone on with, saved and reloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.models.offloading import offloading_of
from codetune.train.finetune import finetune
from codetune.train.subject import ADAPTER, reload
from tests.exactness.wide import saved, wide_config


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(wide_config("llama", vocab_size=8192, max_position_embeddings=512))
    return saved(model, tmp_path_factory.mktemp("base"))


def recipe(base: Path, method: Any, **train: Any) -> TrainRecipe:
    budget = {"train_tokens": 800, "batch_tokens": 400, "max_seq_len": 200, "validations": 1, "precision": "bf16", "fast": False}
    data = {"source": "basics", "max_examples": 12, "validation_examples": 4}
    return TrainRecipe.model_validate({"name": "x", "model": str(base), "data": data, "method": method, "train": budget | train})


@pytest.mark.parametrize("method", [{"name": "lora", "lora_rank": 4}, pytest.param({"name": "prefix_tuning"}, marks=pytest.mark.slow)])
def test_a_run_is_the_same_to_the_last_bit(method: Any, base: Path, tmp_path: Path) -> None:
    here, there = (recipe(base, method, offload_frozen_weights=chosen) for chosen in (False, True))
    found = [finetune(one, tmp_path / str(number)) for number, one in enumerate((here, there))]
    assert [one["checks"]["moved_frozen_tensors"] for one in found] == [0, 0]
    assert [one["checks"]["reload_difference"] for one in found] == [0, 0]
    assert found[0]["last_loss"] == found[1]["last_loss"]
    assert found[0]["best_val_loss"] == found[1]["best_val_loss"]
    one, other = (load_file(tmp_path / number / ADAPTER / "adapter_model.safetensors") for number in "01")
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert finetune(here, tmp_path / "1") == found[1], "a run may go on with the other"
    loaded, _ = reload(there, tmp_path / "1")
    assert offloading_of(loaded.model) is not None


def test_what_has_no_frozen_weights_is_refused_before_anything_loads(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="method full trains all weights"):
        finetune(recipe(base, {"name": "full"}, offload_frozen_weights=True), tmp_path)
