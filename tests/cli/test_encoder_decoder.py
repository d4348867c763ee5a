"""T5 and PLBART through the commands: trained, killed and resumed, reloaded, asked, evaluated, planned; and what is refused, in a line."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from codetune.cli.main import run
from codetune.config import TrainRecipe, load_recipe
from codetune.models.open import open_model
from codetune.train.finetune import finetune
from tests.cli.conftest import RECIPE
from tests.cli.pair_models import plbart_folder, t5_folder
from tests.forked import Forked

FOLDERS: dict[str, Callable[[Path], Path]] = {"t5": t5_folder, "plbart": plbart_folder}
TRAIN = RECIPE["train"] | {"packing": "padded", "max_seq_len": 200, "train_tokens": 4000}


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("pairs")
    return {name: make(home / name) for name, make in FOLDERS.items()}


def recipe_of(folder: Path, model: Path, **changes: Any) -> Path:
    path = folder / "pairs.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"model": str(model), "out": str(folder / "run"), "train": TRAIN} | changes))
    return path


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", FOLDERS)
def test_from_recipe_to_answers(
    name: str, method: str, model_folders: dict[str, Path], problems_file: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Planned, trained, and asked by the three commands that ask."""
    model = str(model_folders[name])
    recipe = recipe_of(tmp_path, model_folders[name], method={"name": method, "learning_rate": 0.01})
    assert run(["plan", str(recipe), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)["runs"][0]
    assert run(["train", str(recipe), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (planned["trainable_parameters"], planned["steps"]) == (found["trainable_parameters"], found["steps"])
    checks = found["checks"]
    assert (checks["reload_difference"], checks["unmoved_trainable_tensors"], checks["moved_frozen_tensors"]) == (0, 0, 0)
    assert checks["eos_label_share"] == 1
    assert checks["adapter_effect"] > 0
    before, after = found["held_out"]["bits_per_byte"]
    assert 0 < after < before
    asked = ["--model", model, "--adapter", str(tmp_path / "run"), "--max-new-tokens", "12"]
    out = tmp_path / "samples.jsonl"
    assert run(["generate", *asked, "--benchmark", str(problems_file), "--out", str(out), "--n", "2", "--temperature", "0.8"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["task_id"] for row in rows] == ["own/0", "own/0", "own/1", "own/1"]
    assert any(row["solution"] for row in rows)
    capsys.readouterr()
    assert run(["evaluate", *asked, "--benchmark", str(problems_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_samples"] == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("Add two numbers.\n"))
    assert run(["chat", *asked]) == 0


def killed_in_step_4(file: Path) -> None:
    recipe = load_recipe(file, TrainRecipe, ["train.checkpoint_every_s=0.000001"])
    finetune(recipe, recipe.out, lambda progress, steps: os.kill(os.getpid(), signal.SIGKILL) if progress.step == 4 else None)


def test_a_killed_run_ends_like_one_that_was_not(
    model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
        recipe_of(folder, model_folders["t5"])
    assert Forked(killed_in_step_4, killed / "pairs.yaml").ended().returncode == -signal.SIGKILL
    for folder in (killed, whole):
        assert run(["train", str(folder / "pairs.yaml")]) == 0
    assert "resumed at step" in capsys.readouterr().err
    one, other = (open_model(str(model_folders["t5"]), folder / "run")[1].frozen() for folder in (killed, whole))
    assert all(torch.equal(one[name], tensor) for name, tensor in other.items())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train": TRAIN | {"packing": "exact"}}, "set train.packing=padded"),
        ({"train": TRAIN | {"packing": "concatenated"}}, "set train.packing=padded"),
        ({"data": RECIPE["data"] | {"loss_on": "all"}}, "set data.loss_on=completion"),
        ({"data": RECIPE["data"] | {"infilling": {"rate": 0.5}}}, "plain code has no prompt for an encoder to read"),
        ({"method": "qlora"}, "in 4 bits has not been proved"),
        ({"method": "prompt_tuning"}, "virtual tokens are no beginning of a text there; use method lora"),
        ({"method": "prefix_tuning"}, "virtual tokens are no beginning of a text there; use method lora"),
        ({"method": "p_tuning"}, "virtual tokens are no beginning of a text there; use method lora"),
        *(({"method": name}, f"{name} has not been proved") for name in ("vera", "ia3", "bottleneck", "bitfit", "ln_tuning")),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_is_refused_is_refused_before_weights_are_there(
    changes: dict[str, Any], reason: str, model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `train` of a folder without weights, and by `plan`."""
    empty = tmp_path / "model"
    empty.mkdir()
    for file in model_folders["t5"].iterdir():
        if file.suffix == ".json":
            (empty / file.name).write_bytes(file.read_bytes())
    recipe = recipe_of(tmp_path, empty, **changes)
    assert run(["train", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert run(["plan", str(recipe), "--json"]) == 1
    assert reason in json.loads(capsys.readouterr().out)["runs"][0]["problem"]


def test_plain_code_is_refused(model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = tmp_path / "code.jsonl"
    code.write_text("".join(json.dumps({"text": f"def f{number}(x):\n    return x + {number}\n"}) + "\n" for number in range(40)))
    recipe = recipe_of(tmp_path, model_folders["t5"], data={"source": str(code)})
    assert run(["train", str(recipe)]) == 2
    error = capsys.readouterr().err
    assert "36 of 36 examples of" in error
    assert "are not a prompt and its answer (plain code, for example)" in error
    assert error.count("\n") == 1


def test_marks_take_positions(model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_of(tmp_path, model_folders["plbart"], train=TRAIN | {"max_seq_len": 255})
    assert run(["train", str(recipe)]) == 2
    assert "set train.max_seq_len to 254 or less" in capsys.readouterr().err
