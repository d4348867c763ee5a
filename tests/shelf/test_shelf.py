"""`codetune runs` through its command line, on folders as codetune writes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from codetune.cli.main import run
from codetune.runs import in_use, locked
from codetune.shelf import kinds
from codetune.shelf.describe import curve_of
from codetune.shelf.find import find
from tests.shelf.shelf_fixture import make_data, make_run, make_scores, write_json
from tests.study.study_fixture import build_study


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with runs/ in it, and things of the user's own among them."""
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/one"))
    make_run(Path("runs/half"), done=False, checkpoint=True)
    make_data(Path("runs/data/pairs"))
    make_scores(Path("runs/one/scores"), [True, False, True, True])
    (tmp_path / "runs/mine").mkdir()
    (tmp_path / "runs/mine/config.json").write_text('{"model": "of another program"}')
    return tmp_path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_names_of_files_are_those_that_training_and_studies_write() -> None:
    from codetune.study import plan
    from codetune.train import finetune, resume, search, trackers
    from codetune.train import run as training

    assert (kinds.TRAINED, kinds.METRICS, kinds.CHECKPOINT) == (finetune.RESULT, training.METRICS, resume.CHECKPOINT)
    assert (kinds.TRIALS, kinds.RESULT) == (search.TRIALS, plan.RESULT)
    assert {search.FOUND, search.STORAGE, training.SAMPLES, trackers.IDENTITY} <= set(kinds.WRITTEN["run"])


def test_list_says_of_each_what_it_is_and_how_far(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_study(home / "runs/quickstart", problems=12)
    found = {row["path"]: row for row in as_json(capsys, "runs", "list")["runs"]}
    assert found.keys() == {"runs/one", "runs/half", "runs/data/pairs", "runs/one/scores", "runs/quickstart"}
    one, half, study = found["runs/one"], found["runs/half"], found["runs/quickstart"]
    assert (one["kind"], one["state"], one["best_loss"], one["score"], one["score_of"]) == ("run", "done", 1.25, 0.75, "own pass@1")
    assert (half["state"], half["done"], half["best_loss"]) == ("stopped near step 10", False, 1.25)
    assert half["size_bytes"] > 5000
    assert (study["kind"], study["state"]) == ("study", "6 of 6 cells")
    assert study["score_of"].startswith("basics-known pass@1, ")
    assert found["runs/data/pairs"]["state"] == "done, 42 documents"
    assert run(["runs", "list"]) == 0
    shown = capsys.readouterr().out
    assert "runs/quickstart" in shown
    assert "5 in runs" in shown


def test_list_shows_cells_and_trials_only_when_asked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_study(home / "runs/quickstart", problems=4)
    make_run(Path("runs/one/trials/000"))
    kinds_found = [row["kind"] for row in as_json(capsys, "runs", "list", "--parts")["runs"]]
    assert kinds_found.count("cell") == 6
    assert kinds_found.count("trial") == 1


def test_list_names_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["runs", "list"]) == 2
    assert "no folder runs yet" in capsys.readouterr().err


def test_a_run_that_is_being_written_is_said_to_run(home: Path) -> None:
    with locked(Path("runs/half")):
        assert in_use(Path("runs/half"))
        assert [one.state for one in find([Path("runs/half")])] == ["running, step 10"]
    assert not in_use(Path("runs/half"))
    assert [one.state for one in find([Path("runs/half")])] == ["stopped near step 10"]


def test_show_has_settings_curve_result_and_what_produced_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/two"), model="runs/one", train={"batch_tokens": 512})
    found = as_json(capsys, "runs", "show", "runs/one")
    assert found["settings"]["data.source"] == "basics"
    assert "train.batch_tokens" not in found["settings"]  # the default
    assert [row["step"] for row in found["curve"]][::7] == [1, 20]
    assert found["curve"][-1]["val_loss"] == 1.25
    assert found["result"]["best_val_loss"] == 1.25
    assert found["scores"] == {"own pass@1": 0.75}
    assert found["produced by"] == {"model_hash": "abc"}
    assert found["stand on it"] == {"runs/two": "was trained on it, and cannot be used without"}
    assert as_json(capsys, "runs", "show", "runs/two")["settings"]["train.batch_tokens"] == 512


def test_a_curve_is_a_few_points_and_a_step_that_was_logged_twice_is_one(tmp_path: Path) -> None:
    run_folder = make_run(tmp_path / "run")
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "loss": 9.0}\n{"step": 21')
    points = curve_of(run_folder)
    assert len(points) == 8
    assert points[-1]["loss"] == 9.0


def test_compare_shows_what_differs_and_pairs_by_problem(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/two"), method={"name": "lora", "lora_rank": 8})
    make_scores(Path("runs/two/scores"), [False, False, True, False])
    found = as_json(capsys, "runs", "compare", "runs/one", "runs/two")
    assert found["settings"] == {"method.lora_rank": [16, 8]}
    assert found["results"]["own pass@1"] == [0.75, 0.25]
    pair = found["paired"][0]
    assert (pair["benchmark"], pair["gap"]["value"], pair["gap"]["num_problems"]) == ("own", -0.5, 4)
    assert (pair["gap"]["wins"], pair["gap"]["losses"], pair["gap"]["p_value"]) == (0, 2, 0.5)  # McNemar, exact, of 0 and 2
    low, high = pair["gap"]["ci95"]
    assert low < -0.5 < high
    assert run(["runs", "compare", "runs/one", "runs/two"]) == 0
    assert "own pass@1, two against one, 4 problems: -50.0 points" in capsys.readouterr().out


def test_cells_of_a_study_are_compared_by_their_kept_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = build_study(tmp_path / "study", problems=40)
    cells = {one.method: str(one.path) for one in find([study], parts=True) if one.kind == "cell"}
    found = as_json(capsys, "runs", "compare", cells["full"], cells["prompt_tuning"])
    assert [pair["benchmark"] for pair in found["paired"]] == ["basics-known", "basics-unseen"]
    assert found["paired"][0]["gap"]["value"] < -0.5
    assert found["settings"]["row"] == ["full", "prompt_tuning"]


def test_different_problems_of_one_name_are_not_paired(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_scores(Path("runs/two"), [True, True, True, True])
    result = json.loads((other / "result.json").read_text())
    result["benchmarks"]["own"]["benchmark_sha256"] = "b" * 64
    write_json(other / "result.json", result)
    pair = as_json(capsys, "runs", "compare", "runs/one", "runs/two")["paired"][0]
    assert pair["gap"] is None
    assert "different problems" in pair["why_not"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/one"], "1 run given"),
        (["runs/one", "runs/mine"], "no run runs/mine: codetune did not write it"),
        (["runs/one", "runs/nowhere"], "no run runs/nowhere: there is no such folder"),
        (["runs/one", "runs/data/pairs"], "is data, not a run"),
    ],
)
def test_compare_refuses_what_is_no_run(arguments: list[str], message: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "compare", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_rm_frees_what_codetune_wrote_and_keeps_the_rest(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = home / "runs/one/notes.txt"
    notes.write_text("mine")
    outside = home / "outside.bin"
    outside.write_bytes(b"0" * 10_000)
    (home / "runs/one/scores/link").symlink_to(outside)
    assert run(["runs", "rm", "runs/one", "runs/data/pairs", "--yes"]) == 0
    told = capsys.readouterr()
    assert "kept runs/one/notes.txt: codetune did not write it" in told.err
    assert sorted(path.name for path in (home / "runs/one").rglob("*") if not path.is_dir()) == ["link", "notes.txt"]
    assert notes.read_text() == "mine"
    assert outside.stat().st_size == 10_000
    assert not (home / "runs/data/pairs").exists()
    assert "freed" in told.out


def test_rm_asks_and_does_nothing_where_nobody_answers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "rm", "runs/one"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert (home / "runs/one/train.json").exists()


@pytest.mark.parametrize("target", ["runs/mine", "runs", "runs/nowhere", "runs/link"])
def test_rm_refuses_what_is_no_run(target: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "runs/link").symlink_to(home / "runs/one")
    before = sorted(str(path) for path in home.rglob("*"))
    assert run(["runs", "rm", target, "--yes"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(str(path) for path in home.rglob("*")) == before


def test_rm_refuses_all_where_one_is_being_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = build_study(home / "runs/study", problems=4)
    cell = next((study / "cells").iterdir())
    for held, asked in ((Path("runs/half"), "runs/half"), (study, str(cell)), (cell, "runs/study")):
        with locked(held):
            assert run(["runs", "rm", "runs/one", asked, "--yes"]) == 2
        assert "is being written" in " ".join(capsys.readouterr().err.split())
    assert (home / "runs/one/train.json").exists()


def test_rm_warns_where_another_run_starts_from_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home / "runs/two", model="runs/one/adapter")
    make_run(home / "runs/three", start="runs/one")
    assert run(["runs", "rm", "runs/one", "--yes"]) == 0
    told = capsys.readouterr().err
    assert "runs/two was trained on it" in told
    assert "runs/three went on from it" in told
    make_run(home / "runs/one")
    assert run(["runs", "rm", "runs/one", "runs/two", "runs/three", "--yes"]) == 0
    assert "warning" not in capsys.readouterr().err  # they go along


def test_rm_of_a_planned_cell_warns_and_unplanned_takes_the_others(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = build_study(home / "runs/study", problems=4)
    names = sorted(path.name for path in (study / "cells").iterdir())
    recipe = json.loads((study / "study.json").read_text())
    write_json(study / "study.json", recipe | {"cells": names[:4]})
    assert run(["runs", "rm", "--unplanned", "runs/study", "--yes"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert sorted(path.name for path in (study / "cells").iterdir()) == names[:4]
    assert run(["runs", "rm", f"runs/study/cells/{names[0]}", "--yes"]) == 0
    assert "its plan has the cell" in capsys.readouterr().err
    assert run(["runs", "rm", "runs/study", "--yes"]) == 0
    assert not study.exists()


def test_unplanned_needs_a_study_that_knows_its_plan(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_study(home / "runs/study", problems=4)  # of before plans were kept
    for folder in ("runs/study", "runs/one"):
        assert run(["runs", "rm", "--unplanned", folder, "--yes"]) == 2
    assert "is no study" in capsys.readouterr().err


def test_checkpoints_frees_those_of_finished_runs_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home / "runs/done", checkpoint=True)
    assert run(["runs", "rm", "--checkpoints", "--yes"]) == 0
    assert capsys.readouterr().out == "5.0 kB freed\n"
    assert not (home / "runs/done/checkpoint").exists()
    assert (home / "runs/done/train.json").exists()
    assert (home / "runs/half/checkpoint/step-000010/state.pt").exists()
    assert run(["runs", "rm", "--checkpoints", "--yes"]) == 0
    assert capsys.readouterr().out == "nothing to remove: 0 B freed\n"


def test_a_removal_that_was_cut_short_leaves_what_the_same_command_removes(home: Path) -> None:
    """As much as is gone after each entry, the thing is known, not done, and removed in full by the next `rm`."""
    for number in range(1, 7):
        folder = make_run(home / f"runs/cut-{number}", checkpoint=True)
        entries = kinds.own_entries(folder, "run")
        for entry in entries[:number]:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        if number < len(entries):
            assert [(one.kind, one.done) for one in find([folder])] == [("run", False)]
            assert run(["runs", "rm", str(folder), "--yes"]) == 0
        assert not folder.exists() or not any(folder.iterdir())
