"""A study of one's own problems with all measures, its cells in this process: what is measured agrees with what is known otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from codetune.config import StudyRecipe, validate
from codetune.data import benchmarks
from codetune.errors import UserError
from codetune.models.names import SHIPPED
from codetune.runs import read_json, read_rows
from codetune.study.drive import CellProgress, run_study
from codetune.study.plan import CellConfig, plan_cells
from codetune.study.report import report_json
from codetune.study.run import run_cell

pytestmark = pytest.mark.skipif(not SHIPPED["codetune-base"].is_dir(), reason="the shipped model is not in this checkout")


class Here:
    """Runs a study's jobs in this process."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def all(self, starts: Sequence[CellProgress]) -> list[str]:
        for start in starts:
            assert isinstance(start.cell, CellConfig)
            start.cell.folder.mkdir(parents=True, exist_ok=True)
            (start.cell.folder / "cell.json").write_text(start.cell.model_dump_json())
            run_cell(start.cell)
            self.ran.append(start.cell.row)
        return []


def recipe_of(folder: Path, **changes: Any) -> StudyRecipe:
    rows = [
        {"task_id": f"own/{n}", "instruction": p.instruction, "entry_point": p.entry_point, "reference": p.reference,
         "tests": [f"assert callable({p.entry_point})"]}
        for n, p in enumerate(benchmarks.load("basics-unseen").problems[:3])
    ]  # fmt: skip
    own = folder / "my own.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {
        "name": "measured", "models": "codetune-base", "methods": ["lora"], "benchmarks": [str(own)], "max_problems": 2,
        "data": {"source": "basics", "max_examples": 40, "validation_examples": 8},
        "train": {"train_tokens": 1500, "batch_tokens": 500, "max_seq_len": 256, "validations": 3},
        "decoding": {"max_new_tokens": 4, "batch_size": 4}, "out": str(folder / "study"),
        "measures": {"forgetting": ["basics-validation", str(own)], "rephrased": 2, "price_per_hour": 7.2},
    }  # fmt: skip
    return validate(tree | changes, StudyRecipe, "test")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measures")
    run_study(recipe_of(folder), lambda progress: None, Here())
    return folder


def cells(study: Path) -> dict[str, dict[str, Any]]:
    return {cell["method"]: cell for cell in report_json(study / "study")["cells"]}


def result(study: Path, row: str) -> dict[str, Any]:
    return next(read_json(path) for path in (study / "study").glob(f"cells/{row}-*/result.json"))


def test_held_out_loss_is_that_which_training_measured(study: Path) -> None:
    before, after = result(study, "lora")["train"]["held_out"]["loss"]
    base, lora = (cells(study)[row]["measures"] for row in ("base", "lora"))
    assert base["held_out_loss"] == pytest.approx(before, rel=1e-4)
    assert lora["held_out_loss"] == pytest.approx(after, rel=1e-4)
    assert lora["held_out_bits_per_byte"] == pytest.approx(result(study, "lora")["train"]["held_out"]["bits_per_byte"][1], rel=1e-4)
    assert base["held_out_examples"] == lora["held_out_examples"] == 8


def test_what_was_forgotten_is_the_change_against_base(study: Path) -> None:
    base, lora = (cells(study)[row]["measures"] for row in ("base", "lora"))
    for name in ("basics-validation", "my own"):
        assert lora[f"forgetting:{name}:loss_change"] == lora[f"forgetting:{name}:loss"] - base[f"forgetting:{name}:loss"]
        assert base[f"forgetting:{name}:problems"] == 2
        assert f"forgetting:{name}:score" in base
    assert not [name for name in base if name.endswith("_change")]


def test_other_words_are_asked_beside_the_first_ones(study: Path) -> None:
    found = cells(study)["lora"]["measures"]
    for what in ("instruction", "template"):
        lead = f"rephrased:my own:{what}"
        assert found[f"{lead}:original_score"] == cells(study)["lora"]["metrics"]["my own:pass@1"]
        assert {f"{lead}:score", f"{lead}:changed_share", f"{lead}:problems"} <= found.keys()
        [kept] = (study / "study").glob(f"cells/lora-*/samples-rephrased-{what}-my own.jsonl")
        assert [row["task_id"] for row in read_rows(kept)] == ["own/0", "own/1"]


def test_what_training_took(study: Path) -> None:
    cell = cells(study)["lora"]
    found, train = cell["measures"], result(study, "lora")["train"]
    assert 0 < found["time_to_quality_s"] <= train["seconds"]
    assert found["time_to_quality_tokens"] <= train["tokens"]
    assert found["time_to_common_loss_s"] <= train["seconds"]  # alone in its block, to its own best
    assert found["cost"] == pytest.approx((train["seconds"] + found["evaluation_s"]) / 3600 * 7.2)
    assert found["operations_per_token"] > 4 * 5e6  # forward and backward through more than 5M weights in linear layers
    rate = found["operations_per_token"] * train["tokens_per_s"] / found["matrix_operations_per_s"]
    assert found["matrix_rate_share"] == pytest.approx(rate)
    assert found["memory_forecast_bytes:weights"] > 4 * 7e6
    assert found["memory_peak_bytes:training"] == train["peak_memory_bytes"]
    assert ("energy_j" in found) == bool(result(study, "lora")["measures"]["energy_source"])
    assert {"latency_first_token_s", "latency_s_per_token", "merged_latency_first_token_s", "merged_latency_s_per_token"} <= found.keys()
    assert found["latency_s_per_token"] <= found["latency_s_per_token_p90"]
    assert found["latency_prompts"] == 2
    base = cells(study)["base"]["measures"]
    assert not [name for name in base if name.startswith(("merged_", "memory_forecast", "matrix_", "time_to"))]


def test_scores_have_their_parts(study: Path) -> None:
    found = cells(study)["base"]["metrics"]
    assert found["my own:pass_rate"] == found["my own:pass@1"]  # one sample each
    assert {f"my own:codebleu_{part}" for part in ("ngram", "weighted_ngram", "syntax")} <= found.keys()


def test_a_price_costs_no_new_run_and_a_measure_does(study: Path) -> None:
    before, engine = cells(study)["base"]["measures"]["cost"], Here()
    asked = recipe_of(study).measures
    run_study(recipe_of(study, measures=asked.model_copy(update={"price_per_hour": 3.6}).model_dump()), lambda progress: None, engine)
    assert engine.ran == []
    assert cells(study)["base"]["measures"]["cost"] == pytest.approx(before / 2)
    other = [cell.evaluation_hash for cell in plan_cells(recipe_of(study, measures={"rephrased": 1}))]
    assert set(other).isdisjoint(cell.evaluation_hash for cell in plan_cells(recipe_of(study)))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    twin = tmp_path / "other" / "my own.jsonl"
    twin.parent.mkdir()
    twin.write_text(json.dumps({"task_id": "1", "instruction": "Say it.", "reference": "print()"}) + "\n")
    recipe = recipe_of(tmp_path, measures={"forgetting": [str(twin)]})
    with pytest.raises(UserError, match=r"are both called 'my own' in the study's tables: rename one"):
        plan_cells(recipe)
