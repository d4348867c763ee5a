"""A study through its real seams: child processes, the shipped model, the sandbox, the report; and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from codetune.config import DataConfig, DecontaminateConfig, StudyRecipe, load_recipe, shipped_recipes, validate
from codetune.data import benchmarks
from codetune.data.overlap.training_overlap import TrainingOverlap
from codetune.data.sources import load_source
from codetune.data.training import TrainingData, documents_of, training_data
from codetune.errors import UserError
from codetune.models.names import SHIPPED
from codetune.records import Document
from codetune.runs import read_json
from codetune.study.drive import CellProgress, run_study
from codetune.study.measures import of_the_machine
from codetune.study.plan import plan_cells
from codetune.study.report import Report, report_json

MEASURED = {"train_seconds", "tokens_per_s", "peak_memory_bytes", "generation_tokens_per_s"}
pytestmark = pytest.mark.skipif(not SHIPPED["codetune-base"].is_dir(), reason="the shipped model is not in this checkout")


def small(folder: Path, methods: list[Any], **changes: Any) -> StudyRecipe:
    train = {"train_tokens": 3000, "batch_tokens": 1000, "max_seq_len": 256, "precision": "bf16", "validations": 1}
    tree = {
        "name": "small", "models": "codetune-base", "data": {"source": "basics", "max_examples": 60, "validation_examples": 10},
        "methods": methods, "benchmarks": ["basics-known"], "max_problems": 6, "train": train,
        "decoding": {"max_new_tokens": 24, "batch_size": 6}, "out": str(folder), "cells_at_once": 2,  # a thread each
        "measures": {"memory": False, "matrix_rate": False, "latency": False},
    }  # fmt: skip
    return validate(tree | changes, StudyRecipe, "test")


def silent(progress: CellProgress) -> None:
    pass


@dataclass(frozen=True)
class Ran:
    recipe: StudyRecipe
    stages: list[str]
    written: Report


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A study of the base and of LoRA that has run to its end, once for all tests."""
    recipe, stages = small(tmp_path_factory.mktemp("ran"), ["lora"]), list[str]()
    return Ran(recipe, stages, run_study(recipe, lambda progress: stages.append(progress.stage)))


def test_a_study_runs_and_a_second_call_finds_everything_done(ran: Ran) -> None:
    assert ran.written.html.exists()
    assert {"starting", "training", "answering basics-known", "running basics-known"} <= set(ran.stages)
    cells = {cell["method"]: cell for cell in report_json(ran.recipe.folder)["cells"]}
    assert cells.keys() == {"base", "lora"}
    assert cells["lora"]["valid"], cells["lora"]["invalid_cause"]
    assert 0.05 < cells["lora"]["trainable_share"] < 0.08
    result = next(read_json(path) for path in ran.recipe.folder.glob("cells/lora-*/result.json"))
    gates = {gate["name"]: gate["level"] for gate in result["gates"]}
    assert {name: level for name, level in gates.items() if ":" not in name} == dict.fromkeys(
        ("trained_tensors_moved", "frozen_tensors_kept", "finite_loss", "reload", "saved_files", "merge", "adapter_effect", "eos_labels",
         "batch_invariance"), "ok",
    )  # fmt: skip
    assert gates["basics-known:train_test_overlap"] == "ok"
    assert result["train_test_overlap"]["benchmarks"]["basics-known"]["documents"] == 0
    assert result["train_test_overlap"]["documents"] == 4810  # all that could be trained on, the limit aside
    again: list[str] = []
    run_study(ran.recipe, lambda progress: again.append(progress.stage))
    assert again == []


def test_cells_are_keyed_by_what_determines_them(tmp_path: Path) -> None:
    def keys(**changes: Any) -> list[str]:
        return [cell.key for cell in plan_cells(small(tmp_path, ["full", "lora"], **changes))]

    plain = keys()
    assert len(set(plain)) == 3  # the base row is there without being asked for
    assert keys() == plain
    assert keys(decoding={"max_new_tokens": 32}) == plain  # only evaluated anew
    other_rate = [cell.key for cell in plan_cells(small(tmp_path, ["full", {"name": "lora", "learning_rate": 1e-5}]))]
    assert other_rate[:2] == plain[:2]
    assert other_rate[2] != plain[2]
    assert set(keys(seeds=[1])[1:]).isdisjoint(plain)
    evaluation = {cell.evaluation_hash for cell in plan_cells(small(tmp_path, [], decoding={"max_new_tokens": 32}))}
    assert evaluation.isdisjoint(cell.evaluation_hash for cell in plan_cells(small(tmp_path, [])))


def test_what_is_left_out_of_the_training_data_is_part_of_the_key(tmp_path: Path) -> None:
    def keys(**decontaminate: Any) -> list[str]:
        recipe = small(tmp_path, ["lora"], few_shot=1, **({"decontaminate": decontaminate} if decontaminate else {}))
        return [cell.key for cell in plan_cells(recipe)]

    base, few_shot, lora = keys()
    assert keys(publish_anyway=True, max_overlap=0.5) == [base, few_shot, lora]  # judged anew, not trained
    other = keys(run_words=8)
    assert (other[0], other[1] == few_shot, other[2] == lora) == (base, False, False)
    more = keys(against=["basics-unseen"])
    assert more[0] == base
    assert {few_shot, lora}.isdisjoint(more)
    kept = keys(drop=False)
    assert kept[0] == base
    assert {few_shot, lora}.isdisjoint(kept)
    assert keys(drop=False, run_words=8) == kept  # nothing of the data depends on it
    judged = {cell.evaluation_hash for cell in plan_cells(small(tmp_path, [], decontaminate={"publish_anyway": True}))}
    assert judged.isdisjoint(cell.evaluation_hash for cell in plan_cells(small(tmp_path, [])))


def leaking(folder: Path) -> Path:
    """A training file that has two problems of the test among its rows."""
    rows = [*load_source("basics")[:40], *benchmarks.load("basics-known").problems[:2]]
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"task_id": f"row/{n}", "instruction": p.instruction, "reference": p.reference}) + "\n"
                            for n, p in enumerate(rows)))  # fmt: skip
    return path


def listed(data: TrainingData) -> tuple[list[Document], list[Document], TrainingOverlap]:
    validation = [document for shard in data.validation for document in documents_of(shard)]
    return list(data.documents()), validation, data.overlap


def test_what_overlaps_the_test_is_left_out_of_training_and_validation(tmp_path: Path) -> None:
    data = DataConfig(source=str(leaking(tmp_path)), validation_examples=2)
    against = DecontaminateConfig(against=("basics-known",), min_share=1.0)
    train, validation, overlap = listed(training_data(data, against))
    plain, plain_validation, nothing = listed(training_data(data))
    assert (len(plain), len(plain_validation), nothing.found) == (40, 2, ())
    assert validation == []  # both of its rows
    left_out = {document for document, _ in overlap.found}
    assert {"row/40", "row/41"} <= left_out
    assert [one.id for one in train] == [one.id for one in plain if one.id not in left_out]
    assert {"basics/known/0001", "basics/known/0002"} <= overlap.tasks("basics-known")
    kept, kept_validation, same = listed(training_data(data, against.model_copy(update={"drop": False})))
    assert (kept, kept_validation, same.found, same.left_out) == (plain, plain_validation, overlap.found, False)
    few = data.model_copy(update={"max_examples": 3})
    assert listed(training_data(few, against))[0] == train[:3]
    only = tmp_path / "only.jsonl"
    only.write_text((tmp_path / "mine.jsonl").read_text().splitlines()[-1])
    with pytest.raises(UserError, match=r"only\.jsonl: all training data overlaps basics-known; tune on other data, or set"):
        training_data(DataConfig(source=str(only)), against)


@pytest.mark.slow
def test_a_score_is_refused_where_the_test_was_trained_on_unless_it_is_published_anyway(tmp_path: Path) -> None:
    data = {"source": str(leaking(tmp_path)), "validation_examples": 4}

    def lora(**decontaminate: Any) -> dict[str, Any]:
        recipe = small(tmp_path / "study", ["lora"], data=data, decontaminate={"drop": False} | decontaminate)
        run_study(recipe, silent)
        cells = {cell["method"]: cell for cell in report_json(tmp_path / "study")["cells"]}
        assert (cells["base"]["valid"], cells["base"]["marks"]) == (True, {})  # has seen nothing
        return cells["lora"]

    refused = lora()
    assert refused["valid"] is False
    assert "of 6 problems overlap the training data" in refused["invalid_on"]["basics-known"]
    [trained] = (tmp_path / "study").glob("cells/lora-*/train.json")
    before = trained.stat().st_mtime_ns
    published = lora(publish_anyway=True)
    assert (published["valid"], list(published["marks"])) == (True, ["basics-known"])
    assert trained.stat().st_mtime_ns == before  # judged anew, not trained again


def test_what_cannot_work_is_one_line(ran: Ran, tmp_path: Path) -> None:
    """The base, which can, is done already."""
    [base] = ran.recipe.folder.glob("cells/base-*")
    shutil.copytree(base, tmp_path / "cells" / base.name)
    with pytest.raises(UserError, match=r"max_seq_len=1020 with 20 virtual tokens: codetune-base has 1024 positions"):
        run_study(small(tmp_path, ["prompt_tuning"], train={"max_seq_len": 1020, "train_tokens": 2000}), silent)
    with pytest.raises(UserError, match="did you mean 'codetune-base'"):
        run_study(small(tmp_path / "other", [], models="codetune-bas"), silent)


def test_shipped_studies_can_be_planned(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    for name in ("quickstart.yaml", "conala-basics-model.yaml"):
        rows = [cell.row for cell in plan_cells(load_recipe(shipped_recipes()[name], StudyRecipe))]
        assert rows == ["base", "base few-shot", "full", "lora", "prefix_tuning", "prompt_tuning"]


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_report(tmp_path: Path) -> None:
    """kill -9 of the whole study while the second method trains; the child must die too, or its folder stays held."""
    methods = ["full", "prefix_tuning"]
    train = {"train_tokens": 30_000, "batch_tokens": 1000, "max_seq_len": 256, "checkpoint_every_s": 0.5}
    whole = small(tmp_path / "whole", methods, train=train)
    cut = whole.model_copy(update={"out": tmp_path / "cut"})
    run_study(whole, silent)
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(json.dumps(cut.model_dump(mode="json")))
    command = [sys.executable, "-m", "codetune.cli", "study", "run", str(recipe_file)]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "CODETUNE_CACHE": str(tmp_path / "cache")})
    _wait_for(lambda: any(len(path.read_text().splitlines()) > 5 for path in cut.folder.glob("cells/prefix*/metrics.jsonl")))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    time.sleep(1)
    run_study(cut, silent)
    assert _unmeasured(report_json(cut.folder)) == _unmeasured(report_json(whole.folder))
    for kind in ("samples", "scores"):
        ours, theirs = (sorted(folder.glob(f"cells/*/{kind}-*.jsonl")) for folder in (whole.folder, cut.folder))
        assert [_timeless(path) for path in ours] == [_timeless(path) for path in theirs]


@pytest.mark.slow
def test_sigterm_reaches_the_cell_which_saves_first(tmp_path: Path) -> None:
    """The interval of checkpoints is so long that none would be there without it."""
    train = {"train_tokens": 60_000, "batch_tokens": 500, "max_seq_len": 256, "checkpoint_every_s": 1000}
    recipe = small(tmp_path / "study", ["prompt_tuning"], train=train)
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(json.dumps(recipe.model_dump(mode="json")))
    command = [sys.executable, "-m", "codetune.cli", "study", "run", str(recipe_file)]
    study = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: any(len(path.read_text().splitlines()) > 5 for path in recipe.folder.glob("cells/prompt*/metrics.jsonl")))
    study.send_signal(signal.SIGTERM)
    said = study.communicate(timeout=120)[1]
    assert study.returncode == 143
    assert said.splitlines()[-1] == "codetune: terminated; what was finished is kept, and the same command goes on from there"
    assert len(list(recipe.folder.glob("cells/prompt*/checkpoint/step-*"))) == 1


def _wait_for(happened: Any, limit_s: float = 300) -> None:
    until = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < until, "the study did not get so far"
        time.sleep(0.1)


def _unmeasured(report: Any) -> Any:
    cells = [{key: value for key, value in cell.items() if key not in MEASURED} for cell in report["cells"]]
    for cell in cells:
        for part in ("measures", "measures_range"):
            cell[part] = {name: value for name, value in cell[part].items() if not of_the_machine(name)}
    return cells


def _timeless(path: Path) -> list[Any]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row.get("result"):
            row["result"] |= {"seconds": 0, "cpu_s": 0}
    return rows
