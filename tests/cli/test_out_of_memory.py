"""Memory that runs out in `codetune train`, for real: under a limit of the process's own."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from codetune.config import TrainRecipe, load_recipe
from codetune.errors import UserError
from codetune.runs import read_rows
from codetune.train.finetune import finetune
from codetune.train.resume import Progress
from tests.forked import Forked, codetune

ROOM = 300_000_000
LARGE = (
    "train.micro_batch_size=256", "train.batch_tokens=50000", "train.train_tokens=100000", "train.validations=0", "data.max_examples=2000",
)  # fmt: skip


def with_little_room(kind: str, *arguments: str) -> None:
    """The limit is on what comes after the libraries, whose size is the machine's own."""
    held = psutil.Process().memory_info()
    limit = ROOM + (held.vms if kind == "RLIMIT_AS" else held.data)
    resource.setrlimit(getattr(resource, kind), (limit, limit))
    codetune(*arguments)


def limited(kind: str, recipe: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    return Forked(with_little_room, kind, "train", str(recipe), *(f"--set={setting}" for setting in settings)).ended(300)


@pytest.mark.slow
def test_the_changes_that_are_named_fit(recipe_file: Path) -> None:
    failed = limited("RLIMIT_DATA", recipe_file, *LARGE)
    line = told(failed)
    forecast, there = map(float, re.findall(r"([\d.]+) GB (?:forecast|there)", line)[:2])
    named = line.partition("these would fit: ")[2].split(", or ")
    assert 1 <= len(named) <= 3
    for change in named:
        assert float(re.findall(r"\(([\d.]+) GB\)", change)[0]) <= min(forecast, there)
    settings = re.findall(r"--set (\S+)", named[0])
    assert settings[0].startswith("train.micro_batch_size=")
    done = limited("RLIMIT_DATA", recipe_file, *LARGE, *settings)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_limit_on_addresses_is_told_as_well(recipe_file: Path) -> None:
    assert "out of memory in training: " in told(limited("RLIMIT_AS", recipe_file, *LARGE))


def told(failed: subprocess.CompletedProcess[str]) -> str:
    """The one line that it ended with."""
    assert failed.returncode == 2, failed.stderr
    line = failed.stderr.splitlines()[-1]
    assert line.startswith("codetune: out of memory in training: ")
    assert "Traceback" not in failed.stderr
    return line


def test_a_stopped_run_goes_on_with_what_takes_less_memory(recipe_file: Path, tmp_path: Path) -> None:
    """To the same weights but for rounding; what would be another recipe is refused as ever."""
    recipe = load_recipe(recipe_file, TrainRecipe, [])
    whole = finetune(recipe, tmp_path / "whole")

    def stop(progress: Progress, steps: int) -> None:
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        finetune(recipe, tmp_path / "stopped", stop)
    less = {"micro_batch_size": 1, "activation_checkpointing": True}
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update=less | {"max_seq_len": 100})})
    with pytest.raises(UserError, match="stopped run of another recipe \\(train differs\\)"):
        finetune(other, tmp_path / "stopped")
    smaller = recipe.model_copy(update={"train": recipe.train.model_copy(update=less)})
    gone_on = finetune(smaller, tmp_path / "stopped")
    assert gone_on["last_loss"] == pytest.approx(whole["last_loss"], rel=1e-5)
    assert gone_on["steps"] == whole["steps"]
    rows = [row["step"] for row in read_rows(tmp_path / "stopped" / "metrics.jsonl")]
    assert rows == sorted(set(rows))
