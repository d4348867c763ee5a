"""Systems taking turns: each measurement a process of its own, A B C, A B C, ..., so that a busy minute hurts all alike."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment
from bench.environment import say
from bench.job import Job, Measurement, System
from bench.table import Cell
from codetune.errors import UserError

CHECKOUT = Path(__file__).resolve().parent.parent
TIMEOUT_S = 3600


def measure(jobs: Sequence[Job], repeats: int, peers: Path) -> list[Cell]:
    """All jobs of one method in turns, peers under the interpreter `peers`. A system that failed is not tried again."""
    cells = [Cell(job.method, job.system, job.timed_tokens, job.tokens) for job in jobs]
    for repeat in range(repeats):
        for job, cell in zip(jobs, cells, strict=True):
            if cell.failure:
                continue
            cell.loads.append(environment.load_average())
            outcome = measure_once(job, peers if job.system.peer else Path(sys.executable))
            if isinstance(outcome, str):
                cell.failure = outcome
                say(f"{job.method}, {job.system.name}: failed: {outcome}")
            else:
                cell.repeats.append(outcome)
                speed = job.timed_tokens / outcome.cpu_seconds
                say(f"{job.method}, {job.system.name}, run {repeat + 1} of {repeats}: {speed:,.0f} text tokens per CPU s")
    return cells


def measure_once(job: Job, python: Path) -> Measurement | str:
    """One process: its measurement, or the first line of what went wrong."""
    with tempfile.TemporaryDirectory(dir=job.scratch) as scratch:
        path = Path(scratch) / "job.json"
        dataclasses.replace(job, scratch=scratch).save(path)
        command = [str(python), "-m", worker(job.system), str(path)]
        limits = environment.limited(job.threads)
        try:
            done = subprocess.run(command, cwd=CHECKOUT, env=limits, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"not done after {TIMEOUT_S} s"
    if done.returncode:
        return error_line(done.stderr, done.returncode)
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def worker(system: System) -> str:
    """The module that trains as this system does."""
    if not system.peer:
        return "bench.ours"
    return "bench.peer_autocast" if system.by_hand else "bench.peer_trl"


def measured(python: Path, module: str, *arguments: str, hash_seed: int = 0) -> dict[str, Any]:
    """What a module measured in a process of its own: the JSON object in the last line that it prints. Raises UserError."""
    limits = environment.limited(1) | {"PYTHONHASHSEED": str(hash_seed)}
    command = [str(python), "-m", module, *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, env=limits, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise UserError(f"{module} failed: {error_line(done.stderr, done.returncode)}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def error_line(stderr: str, returncode: int) -> str:
    """The first line of the exception that ended a process: the first unindented line after its last traceback's head."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    heads = [number for number, line in enumerate(lines) if line.startswith("Traceback ")]
    ends = [line for line in lines[heads[-1] + 1 :] if not line.startswith(" ")] if heads else lines[-1:]
    return ends[0].strip() if ends else f"ended with exit code {returncode}"
