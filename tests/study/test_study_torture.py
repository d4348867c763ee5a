"""A study killed at ten random moments ends in the report of one that nobody disturbed; with a search, on a tiny stand-in."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from undisturbed import unmeasured

from codetune.config import StudyRecipe, validate
from codetune.study.drive import CellProgress, run_study
from codetune.study.report import report_json
from codetune.study.stand_ins import tiny

KILLS = 10
pytestmark = pytest.mark.slow


def recipe_in(folder: Path) -> StudyRecipe:
    tree = {
        "name": "torture", "models": "gpt2", "data": {"source": "basics", "validation_examples": 20}, "data_sizes": [40, 80],
        "methods": [{"name": "lora", "learning_rate": 1e-2}, {"name": "prompt_tuning", "learning_rate": 3e-2}], "few_shot": 1, "seeds": 2,
        "benchmarks": ["basics-known"], "search": {"trials": 2, "budget_share": 1.0}, "cells_at_once": 2, "out": str(folder),
        "train": {"train_tokens": 20000, "batch_tokens": 500, "max_seq_len": 256, "checkpoint_every_s": 0.3, "validations": 1},
        "decoding": {"max_new_tokens": 16, "batch_size": 10},
    }  # fmt: skip
    cut = tiny(validate(tree, StudyRecipe, "test"))
    return cut.model_copy(update={"max_problems": 10})


def outcomes(folder: Path) -> dict[str, Any]:
    """Every sample and every verdict, by the file's place, without how long each program ran."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("cells/*/*-basics-known.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(folder))] = [unmeasured(row) for row in rows]
    return found


def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    whole, cut = recipe_in(tmp_path / "whole"), recipe_in(tmp_path / "cut")
    begun = time.monotonic()
    run_study(whole, lambda progress: None)
    took = time.monotonic() - begun
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(json.dumps(cut.model_dump(mode="json")))
    environment = {**os.environ, "CODETUNE_CACHE": str(tmp_path / "cache")}
    moments = random.Random(6)
    done = []
    for _ in range(KILLS):
        command = [sys.executable, "-m", "codetune.cli", "study", "run", str(recipe_file)]
        study = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment)
        try:
            study.wait(moments.uniform(0.02, 0.1) * took)
        except subprocess.TimeoutExpired:
            study.send_signal(signal.SIGKILL)
            study.wait()
        done.append(len(list(cut.folder.glob("cells/*/result.json"))))
        time.sleep(0.5)
    told: list[CellProgress] = []
    run_study(cut, told.append)
    cells = len(list(whole.folder.glob("cells/*/result.json")))
    assert done[KILLS // 2] < cells, f"most kills came after the end: cells done at each of them {done} of {cells}"
    assert unmeasured(report_json(cut.folder)) == unmeasured(report_json(whole.folder))
    assert outcomes(cut.folder) == outcomes(whole.folder)
