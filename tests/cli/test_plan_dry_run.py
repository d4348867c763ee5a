"""`codetune plan --dry-run` from its command line: two real steps beside the forecast."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from codetune.cli.main import run
from tests.cli.pair_models import t5_folder
from tests.forked import Forked, codetune

SMALL = {"source": "basics", "max_examples": 30, "validation_examples": 4}


def recipe(folder: Path, model: str, method: str, **train: object) -> Path:
    path = folder / "plan.yaml"
    budget = {"train_tokens": 1200, "batch_tokens": 400, "max_seq_len": 200, "micro_batch_size": 2}
    path.write_text(yaml.safe_dump({"name": "x", "model": model, "data": SMALL, "method": method, "train": budget | train}))
    return path


@pytest.mark.parametrize(("method", "precision"), [pytest.param("qlora", "bf16", marks=pytest.mark.slow), ("full", "fp32")])
def test_a_dry_run_measures_near_the_forecast(method: str, precision: str, tmp_path: Path) -> None:
    """In a process of its own, which holds its libraries and nothing of other tests."""
    asked = recipe(tmp_path, "codetune-base", method, precision=precision)
    done = Forked(codetune, "plan", str(asked), "--dry-run", "--json").ended(240)
    found = json.loads(done.stdout)["runs"][0]
    measured = found["measured"]
    assert measured["before"] < measured["loaded"] < measured["peak"]
    assert measured["seconds"] > 0
    assert 0 < measured["tokens"] <= 800
    assert found["training_peak"] == pytest.approx(measured["peak"], rel=0.3)  # libraries and all: a small model is little of it
    assert found["precision"] == precision


def test_a_dry_run_is_a_line_of_the_plan_of_an_encoder_decoder_model_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = recipe(tmp_path, str(t5_folder(tmp_path / "t5")), "lora", packing="padded")
    assert run(["plan", str(asked), "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    line = r"dry run lora: ([\d.]+) GB measured, [\d.]+ GB forecast \([\d.]+ of it\); [\d.]+ s for a step of [\d,]+ tokens"
    found = re.search(line, out)
    assert found, out
    assert float(found[1]) > 0


def test_no_dry_run_of_a_machine_that_is_not_here(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(recipe_file), "--dry-run", "--gpu", "24GB"]) == 2
    assert capsys.readouterr().err == (
        "codetune: --dry-run runs here, and a GPU of 24 GB is not here: leave out --gpu or --dry-run\n"
    )


def test_plan_settles_auto_as_the_machine_would(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for gpu, wanted in (("24GB", "bf16"), ("T4", "fp32")):
        assert run(["plan", str(recipe_file), "--set", "train.precision=auto", "--gpu", gpu, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["runs"][0]["precision"] == wanted


def test_plan_asks_for_the_recipes_device(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(recipe_file), "--set", "device=mps"]) == 2
    assert "device 'mps' is not on this machine" in capsys.readouterr().err
    assert run(["plan", str(recipe_file), "--set", "device=cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"] == "this machine"
