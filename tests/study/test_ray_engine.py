"""A study on a Ray of this machine, two workers, one killed in the middle; what fits no machine is said, not waited for."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from undisturbed import unmeasured

from codetune.config import StudyRecipe, validate
from codetune.errors import UserError
from codetune.runs import read_rows
from codetune.study.drive import CellProgress, run_study
from codetune.study.ray_engine import RayEngine
from codetune.study.report import report_json
from codetune.study.stand_ins import tiny

WITHOUT = "Ray is not installed: pip install 'codetune[ray]'"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=WITHOUT)]


def recipe_in(folder: Path) -> StudyRecipe:
    tree = {
        "name": "on-ray", "models": "gpt2", "data": {"source": "basics", "max_examples": 60, "validation_examples": 10},
        "methods": [{"name": "full", "learning_rate": 1e-3}, {"name": "lora", "learning_rate": 1e-2}], "benchmarks": ["basics-known"],
        "train": {"batch_tokens": 500, "max_seq_len": 256, "checkpoint_every_s": 0.3}, "cells_at_once": 2, "out": str(folder),
        "decoding": {"max_new_tokens": 16, "batch_size": 6},
    }  # fmt: skip
    cut = tiny(validate(tree, StudyRecipe, "test"))
    return cut.model_copy(update={"max_problems": 6, "train": cut.train.changed({"train_tokens": 60_000})})


def kill_a_worker(folder: Path, killed: list[int]) -> None:
    """The worker whose cell has trained for some steps: the parent of the cell's process."""
    until = time.monotonic() + 300
    while time.monotonic() < until and not killed:
        for child in psutil.process_iter(["cmdline"]):
            line = child.info["cmdline"] or []
            if "codetune.study.run" in line and len(read_rows(Path(line[-1]).parent / "metrics.jsonl")) > 5:
                worker = child.parent()
                if worker is not None and worker.pid != os.getpid():
                    os.kill(worker.pid, signal.SIGKILL)
                    killed.append(worker.pid)
                    return
        time.sleep(0.05)


def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    here, there = recipe_in(tmp_path / "here"), recipe_in(tmp_path / "there")
    run_study(here, lambda progress: None)
    killed: list[int] = []
    threading.Thread(target=kill_a_worker, args=(there.folder, killed), daemon=True).start()
    told: list[CellProgress] = []
    run_study(there, told.append, RayEngine(there, told.append))
    assert killed, "no worker was killed"
    assert {"training", "answering basics-known", "done"} <= {progress.stage for progress in told}
    assert unmeasured(report_json(there.folder)) == unmeasured(report_json(here.folder))
    nothing: list[CellProgress] = []
    run_study(there, nothing.append, RayEngine(there, nothing.append))
    assert nothing == []


def test_what_no_machine_can_hold_is_a_failure_of_that_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_in(tmp_path)
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    monkeypatch.setattr("codetune.study.ray_engine.forecast_needs", lambda paths, *_: {str(path): 10**15 for path in paths})
    with pytest.raises(UserError, match=r"base \(seed 0\): 1000000\.0 GB forecast, and the largest machine has"):
        run_study(recipe, lambda progress: None, RayEngine(recipe, lambda progress: None))


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    with pytest.raises(UserError, match="no Ray cluster at"):
        run_study(recipe, lambda progress: None, RayEngine(recipe, lambda progress: None, "127.0.0.1:1"))
