"""`codetune train` with samples: the model in training answers, the sandbox judges, and a person reads it in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from codetune.cli.main import run
from codetune.config import DecodingConfig, SamplesConfig, TrainRecipe
from codetune.data.benchmarks import load as load_benchmark
from codetune.errors import UserError
from codetune.generate.fake import FakeEngine
from codetune.prompts.template import make_template
from codetune.records import Verdict
from codetune.runs import read_rows
from codetune.score.verdicts import open_checker
from codetune.train.finetune import finetune as train_only
from codetune.tuning import caution, reading
from codetune.tuning import finetune as tune


def with_samples(path: Path, **changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    samples = {"benchmark": "basics-validation", "max_problems": 3, "times": 2, "decoding": {"max_new_tokens": 12}}
    tree |= {"samples": samples} | changes
    path.write_text(yaml.safe_dump(tree))
    return tree


def test_a_reading_is_what_the_sandbox_says(problems_file: Path) -> None:
    good, broken = "def add(a, b):\n    return a + b\n", "def neg(a:\n"
    engine = FakeEngine({"own/0": good, "own/1": broken})
    benchmark = load_benchmark(str(problems_file))
    with open_checker() as checker:
        found = reading(engine, benchmark, make_template("instruction"), SamplesConfig(benchmark="own"), checker)
    assert (found.pass_rate, found.eos_share, found.syntax_valid) == (0.5, 1.0, 0.5)
    assert found.mean_tokens == (len(good.split()) + len(broken.split())) / 2
    assert [(row["task_id"], row["verdict"]) for row in found.rows] == [("own/0", Verdict.PASSED), ("own/1", Verdict.SYNTAX_ERROR)]
    assert found.rows[0]["completion"] == good
    json.dumps(found.rows)


@pytest.mark.parametrize("method", ["lora", "full", "prefix_tuning", "prompt_tuning"])
def test_samples_change_no_weight_in_any_precision(method: str, recipe_file: Path, tmp_path: Path) -> None:
    """With the real engine and sandbox, in bf16, where matrices of the frozen model are in another type than the rest."""
    tree = with_samples(recipe_file, method={"name": method})
    tree["train"] |= {"precision": "bf16"}
    sampled = tune(TrainRecipe.model_validate(tree), tmp_path / "sampled")
    plain = train_only(TrainRecipe.model_validate(tree | {"samples": None}), tmp_path / "plain")
    weights = [sorted((tmp_path / name / "adapter").glob("*.safetensors"))[0].read_bytes() for name in ("sampled", "plain")]
    assert weights[0] == weights[1]
    assert sampled["best_val_loss"] == plain["best_val_loss"]
    assert sampled["last_pass_rate"] == 0.0
    assert plain["last_pass_rate"] is None


def test_train_shows_what_passes_and_keeps_what_was_written(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_samples(recipe_file, trackers="tensorboard")
    assert run(["train", str(recipe_file)]) == 0
    out, error = capsys.readouterr()
    assert "passing 0%" in error
    assert "passing" in out
    assert "0.0% of basics-validation at last" in " ".join(out.split())
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "pass_rate" in row] == [6, 12]
    assert all(0 <= row["eos_share"] <= 1 and row["mean_new_tokens"] <= 12 for row in rows if "pass_rate" in row)
    written = read_rows(tmp_path / "run" / "samples.jsonl")
    assert [(row["step"], row["task_id"]) for row in written[:3]] == [(6, f"basics/validation/000{n}") for n in (1, 2, 3)]
    assert {row["verdict"] for row in written} <= set(Verdict)
    assert list((tmp_path / "run" / "tensorboard" / "tiny").glob("events*"))
    assert run(["train", str(recipe_file), "--set", "trackers=[]"]) == 0, "who is told changes no result"
    assert "is finished already" in capsys.readouterr().err


def test_a_search_and_its_table(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search = {"trials": 2, "learning_rates": [1, 10], "inits": False, "budget_share": 0.5}
    with_samples(recipe_file, search=search, trackers="tensorboard")
    assert run(["train", str(recipe_file)]) == 0
    out, error = capsys.readouterr()
    folders = [tmp_path / "run" / "trials" / "000", tmp_path / "run" / "trials" / "001", tmp_path / "run"]
    sampled = [any("pass_rate" in row for row in read_rows(folder / "metrics.jsonl")) for folder in folders]
    assert sampled == [False, False, True], "trials write samples only where these decide"
    assert [(folder / "tensorboard").exists() for folder in folders] == [False, False, True]
    assert "trial 1: learning_rate=0.02: validation loss" in error
    assert "search: 2 trials" in out
    assert "default" in out
    assert run(["train", str(recipe_file), "--json"]) == 0
    out, error = capsys.readouterr()
    assert json.loads(out)["search"]["best"]["number"] in (0, 1)
    assert "trial" not in error
    assert not list((tmp_path / "run" / "trials").glob("*/adapter"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"monitor": "pass_rate"}, "samples": None}, "train.monitor=pass_rate needs a `samples` section"),
        ({"samples": {"benchmark": "basics-validaton"}}, "did you mean 'basics-validation'"),
        ({"trackers": "clearml"}, "trackers: clearml not installed: run `pip install clearml`"),
        ({"trackers": "tensorbord"}, "trackers.0: no 'tensorbord' (did you mean 'tensorboard'?"),
    ],
    ids=["pass rate of nothing", "unknown benchmark", "missing package", "unknown tracker"],
)
def test_mistakes_are_one_line_and_nothing_is_begun(
    changes: dict[str, Any], says: str, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_samples(recipe_file, **changes)
    assert run(["train", str(recipe_file)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "train.json").exists()


def test_samples_without_tests_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "untested.jsonl"
    path.write_text('{"task_id": "a", "instruction": "add", "reference": "def add(a, b):\\n    return a + b\\n"}\n')
    tree = with_samples(recipe_file, samples={"benchmark": str(path)})
    with pytest.raises(UserError, match="has no tests to pass"):
        tune(TrainRecipe.model_validate(tree), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "warned"), [("basics-known", True), ("humaneval", True), ("basics-validation", False), ("mine.jsonl", False)]
)
def test_a_test_set_to_choose_by_is_warned_of(name: str, warned: bool, recipe_file: Path) -> None:
    tree = with_samples(recipe_file, samples={"benchmark": name, "decoding": DecodingConfig().model_dump()})
    said = caution(TrainRecipe.model_validate(tree))
    assert bool(said) == warned
    assert not warned or said.startswith(f"samples.benchmark {name} is a test set")
    assert caution(TrainRecipe.model_validate(tree | {"samples": None})) == ""
