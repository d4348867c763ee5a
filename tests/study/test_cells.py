"""Reading a run folder: finished cells become records, everything else is named with how far it got."""

import json
import shutil

import pytest
from study_fixture import WAYS, build_study

from codetune.errors import UserError
from codetune.records import Problem
from codetune.study.cells import read_curve, read_outcomes, read_problems, read_study, write_problems


@pytest.fixture
def folder(tmp_path):
    return build_study(tmp_path / "study", problems=12, ways=WAYS[:1] + WAYS[2:4])


def cell_of(study, row):
    return next(cell for cell in study.cells if cell.row == row)


def test_a_finished_study_is_read_whole(folder):
    study = read_study(folder)
    assert study.name == "quickstart"
    assert [cell.row for cell in study.cells] == ["base", "full", "lora"]
    assert study.unfinished == ()
    full = cell_of(study, "full")
    assert full.train.learning_rate == 5e-4
    assert full.train.fill == 0.9985
    assert full.benchmarks["basics-known"].num_problems == 12
    assert len(read_outcomes(full, "basics-known")) == 12
    assert len(read_curve(full)) == 146
    assert cell_of(study, "base").train is None
    assert read_curve(cell_of(study, "base")) == []


@pytest.mark.parametrize(
    ("keep", "state"),
    [
        (("cell.json",), "not started"),
        (("cell.json", "metrics.jsonl"), "stopped at training step 146"),
        (("cell.json", "metrics.jsonl", "samples-basics-known.jsonl"), "trained, not yet evaluated in full"),
    ],
)
def test_an_unfinished_cell_is_named_with_how_far_it_got(folder, keep, state):
    path = next(path for path in (folder / "cells").iterdir() if '"lora"' in (path / "cell.json").read_text())
    for file in path.iterdir():
        if file.name not in keep:
            file.unlink()
    study = read_study(folder)
    assert [(cell.key, cell.label, cell.state) for cell in study.unfinished] == [(path.name, "lora · basics · 0", state)]
    assert len(study.cells) == 2


def test_a_broken_result_is_not_taken_for_a_finished_cell(folder):
    path = next((folder / "cells").iterdir()) / "result.json"
    path.write_text(path.read_text()[:200])
    study = read_study(folder)
    assert [cell.state for cell in study.unfinished] == ["its result.json cannot be read"]


def test_a_line_cut_short_and_a_step_logged_twice(folder):
    cell = cell_of(read_study(folder), "lora")
    with (cell.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 146, "tokens": 598_016, "loss": 42.0}) + '\n{"step": 147, "lo')
    steps = read_curve(cell)
    assert [row["step"] for row in steps] == list(range(1, 147))
    assert steps[-1]["loss"] == 42.0


def test_fields_of_a_newer_writer_are_ignored(folder):
    path = cell_of(read_study(folder), "lora").path / "result.json"
    result = json.loads(path.read_text())
    result["train"]["invented_later"] = 1
    result["benchmarks"]["basics-known"]["invented_later"] = 1
    path.write_text(json.dumps(result))
    assert cell_of(read_study(folder), "lora").train.steps == 146


def test_what_was_written_is_joined_to_what_was_run(folder):
    cell = cell_of(read_study(folder), "full")
    rows = [
        {"task_id": "basics-known/0", "index": 0, "completion": "Sure!"},
        {"task_id": "basics-known/1", "completion": None, "solution": "x"},
    ]
    (cell.path / "samples-basics-known.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second, *_ = read_outcomes(cell, "basics-known")
    assert first.completion == "Sure!"
    assert first.program.startswith("def ")
    assert second.completion == second.program
    assert read_outcomes(cell, "mbpp") == []


def test_problems_are_kept_and_read_again(tmp_path):
    written = [Problem("a/0", "Add.", reference="x\u2028y\n", family="sums"), Problem("a/1", prompt="def f():\n", reference="    pass\n")]
    write_problems(tmp_path, "mine", written)
    first, second = read_problems(tmp_path, "mine")
    assert first == written[0]
    assert (second.instruction, second.reference) == ("def f():\n", "    pass\n")
    assert read_problems(tmp_path, "other") == []


def test_a_folder_without_a_study_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="holds no study"):
        read_study(tmp_path)


def test_a_study_that_has_just_begun(folder):
    shutil.rmtree(folder / "cells")
    (folder / "cells").mkdir()
    assert read_study(folder).cells == ()
