"""`codetune train --nproc 2` from its command line: one report, one adapter, and an end in one line when a process is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from codetune.cli.main import run
from tests.cli.test_train import refused
from tests.forked import Forked, codetune

LONG = ["--set", "train.train_tokens=3000000", "--set", "train.checkpoint_every_s=0.001", "--set", "train.checkpoints_kept=1"]


def children(parent: int) -> list[int]:
    """Process numbers, in the order in which they were started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return sorted(found)


def started(arguments: list[str], metrics: Path) -> Forked:
    """The command, some steps on its way."""
    before = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
    process = Forked(codetune, *arguments)
    while process.runs() and not (metrics.exists() and metrics.read_bytes().count(b"\n") > before + 5):
        time.sleep(0.05)
    assert process.runs()
    return process


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_give_what_one_gives(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], parallel: str
) -> None:
    arguments = ["train", str(recipe_file), "--json", "--set", f"train.parallel={parallel}"]
    done = Forked(codetune, *arguments, "--nproc", "2").ended(300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(re.findall(r"^step \d+/12: ", done.stderr, re.MULTILINE)) == 10
    assert run([*arguments, "--out", str(tmp_path / "one")]) == 0
    wanted = json.loads(capsys.readouterr().out)
    assert (found["processes"], wanted["processes"]) == (2, 1)
    for key in ("steps", "tokens", "supervised_tokens", "trainable_parameters", "total_parameters", "adapter_bytes", "model_hash"):
        assert found[key] == wanted[key], key
    for key in ("first_loss", "last_loss", "best_val_loss"):
        assert found[key] == pytest.approx(wanted[key], rel=1e-6), key
    checks = found["checks"]
    assert checks["adapter_effect"] == pytest.approx(wanted["checks"]["adapter_effect"], rel=1e-3)
    assert (checks["unmoved_trainable_tensors"], checks["moved_frozen_tensors"], checks["reload_difference"]) == (0, 0, 0)
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_ends_the_others_in_one_line(recipe_file: Path, tmp_path: Path, lost: int) -> None:
    arguments = ["train", str(recipe_file), "--nproc", "2", *LONG]
    process = started(arguments, tmp_path / "run" / "metrics.jsonl")
    processes = children(process.pid)
    assert len(processes) == 2
    os.kill(processes[lost], signal.SIGKILL)
    done = process.ended(60)
    assert done.returncode == 2
    complaints = [line for line in done.stderr.splitlines() if line.startswith("codetune: ")]
    assert len(complaints) == 1
    assert f"process {lost} of this run (0 to 1) was ended by SIGKILL" in complaints[0]
    assert "Traceback" not in done.stderr
    assert not any(Path(f"/proc/{number}").exists() for number in processes)
    again = started(arguments, tmp_path / "run" / "metrics.jsonl")
    again.send_signal(signal.SIGINT)
    done = again.ended(60)
    assert done.returncode == 130, done.stderr
    assert int(re.findall(r"resumed at step (\d+) of", done.stderr)[0]) >= 4


@pytest.mark.parametrize(("nproc", "says"), [("0", "--nproc 0: give 1 or more")])
def test_numbers_of_processes_that_cannot_be(recipe_file: Path, capsys: pytest.CaptureFixture[str], nproc: str, says: str) -> None:
    assert says in refused(capsys, "train", str(recipe_file), "--nproc", nproc)
