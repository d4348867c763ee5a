"""Every method through a whole training run in bf16, from recipe to what is reloaded; and what is refused before a model is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from codetune.cli.main import run
from codetune.config import METHOD_NAMES, TrainRecipe, load_recipe
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.load import load_model
from codetune.train.finetune import finetune
from codetune.train.material import prepare
from codetune.train.monitor import validation_loss
from codetune.train.precision import on_this_machine
from codetune.train.run import Run
from codetune.train.subject import load_base, settle_method, soft_prompt_start
from tests.cli.conftest import recipe_file, tiny_model  # noqa: F401  # fixtures

NEEDS = {"bitfit": "biases", "qlora": "a model in 4 bits"}
SETTINGS = {  # where the recipe's own few steps at the default settings would be long or dull
    "full": {}, "pissa": {"trainable_share": 0.1}, "vera": {"vera_rank": 8}, "bottleneck": {"bottleneck_size": 4},
    "prompt_tuning": {"init_text": "Write a function."}, "p_tuning": {"encoder": "lstm", "encoder_hidden_size": 8},
}  # fmt: skip


def untuned_loss(given: TrainRecipe, folder: Path) -> float:
    """The validation loss of the model as it is loaded to be tuned."""
    recipe = settle_method(on_this_machine(given))
    loaded = load_base(recipe)
    return validation_loss(Run(Adapted(loaded.model, "base"), loaded.family, prepare(recipe, loaded), recipe.train, 1.0, folder))


@pytest.mark.parametrize("method", [name for name in METHOD_NAMES if name not in NEEDS])
def test_a_run_of_every_method_passes_its_own_checks(method: str, recipe_file: Path, tmp_path: Path) -> None:  # noqa: F811
    """What trains moved, the rest did not, the adapter does something, and from disk it does the same to the last bit."""
    tree = {"name": method} | SETTINGS.get(method, {})
    few = ["train.precision=bf16", "train.train_tokens=2000", f"method={json.dumps(tree)}"]
    recipe = load_recipe(recipe_file, TrainRecipe, few)
    summary = finetune(recipe, tmp_path / "run")
    checks = summary["checks"]
    assert checks["trainable_tensors"] > 0
    assert (checks["unmoved_trainable_tensors"], checks["moved_frozen_tensors"], checks["non_finite_losses"]) == (0, 0, 0)
    assert checks["adapter_effect"] > 1e-4
    assert checks["reload_difference"] == 0
    assert summary["held_out"]["loss"][0] == untuned_loss(recipe, tmp_path)  # which is measured when all is over
    if method == "pissa":
        assert (summary["size"], summary["trainable_parameters"]) == (3, 3 * 992)


def test_a_method_that_the_model_cannot_have_is_refused_before_its_weights_are_read(
    recipe_file: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]  # noqa: F811
) -> None:  # fmt: skip
    """There are no weights in the folder, and that is not what is said."""
    shutil.copytree(tiny_model, tmp_path / "shape")
    (tmp_path / "shape" / "model.safetensors").unlink()
    for change, says in (
        ("method=bitfit", "use method ln_tuning"),
        ("method={name: lora, target_modules: [c_attn]}", "this model's linear layers are down_proj, gate_proj"),
        ("method={name: prefix_tuning, trainable_share: 0.001}", "prefix_tuning with num_virtual_tokens 1 has 128 parameters"),
    ):
        changes = ["--set", f"model={tmp_path / 'shape'}", "--set", change]
        assert run(["train", str(recipe_file), *changes]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
        assert run(["plan", str(recipe_file), *changes]) == 1
        assert says in " ".join(capsys.readouterr().out.split())


def test_plan_shows_the_size_that_a_share_comes_to(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert run(["plan", str(recipe_file), "--json", "--set", "method={name: lora, trainable_share: 0.05}"]) == 0
    row: dict[str, Any] = json.loads(capsys.readouterr().out)["runs"][0]
    base = row["total_parameters"] - row["trainable_parameters"]
    assert row["size"] == "lora_rank 1"
    assert row["trainable_parameters"] == 992 <= 0.05 * base < 2 * 992


def test_a_soft_prompt_starts_from_the_text_that_is_given(recipe_file: Path, tiny_model: Path) -> None:  # noqa: F811
    loaded = load_model(str(tiny_model))
    given = load_recipe(recipe_file, TrainRecipe, ["method={name: prompt_tuning, init_text: Write code.}"])
    assert soft_prompt_start(given, loaded) == loaded.tokenizer.encode("Write code.", False)
    default = load_recipe(recipe_file, TrainRecipe, ["method=prompt_tuning"])
    assert len(soft_prompt_start(default, loaded)) > 10


def test_unknown_layers_are_refused_by_settling(recipe_file: Path) -> None:  # noqa: F811
    recipe = load_recipe(recipe_file, TrainRecipe, ["method={name: vera, target_modules: [wq]}"])
    with pytest.raises(UserError, match=r"target_modules \['wq'\]"):
        settle_method(recipe)
