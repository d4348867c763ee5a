"""A study of eight runs on one base, from the shell to the report, against TRL+PEFT scripts one after the other: wall clock, start-up in.

    python -m bench study [--model gpt2-shape] [--steps 10] [--tiny] [--out study.json]

Eight LoRA runs, four learning rates by two seeds. Ours is `codetune study run`, as many cells at once as there are cores, with all that a
study does besides: its base row, reloading, gates, answers, the report. The peer's is a process per run on all cores, as a TRL user's
script: import, load, train, save. Both see the same examples in the same steps from the same adapters; the losses say whether they did.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment
from bench.environment import say
from bench.job import Job, System
from bench.results import compared, record, write
from bench.table import SAME_LOSS, relative
from bench.turns import CHECKOUT, TIMEOUT_S, error_line
from codetune.errors import UserError
from codetune.runs import read_rows

if TYPE_CHECKING:
    from bench.study_material import Both

WHAT = "A study of eight runs on one base, start-up included, against TRL+PEFT one after the other."
HOW_LONG = "About 15 minutes on two idle cores; --steps 5 ten; --tiny two."
SYSTEMS = {
    "defaults": System("TRL+PEFT defaults", peer=True, precision="bf16", checkpointing=True, about="bf16 autocast, checkpointing"),
    "no-checkpointing": System("TRL+PEFT, no checkpointing", peer=True, precision="bf16"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="gpt2-shape", help="a folder, codetune-base, tiny, or gpt2-shape (124M random weights)")
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps of each run, of 32 pairs")
    parser.add_argument("--peer", choices=sorted(SYSTEMS), default="defaults", help="how TRL trains")
    parser.add_argument("--tiny", action="store_true", help="a toy model and two steps: whether all works, no figure to keep")
    parser.add_argument("--out", type=Path, default=None, help="write the record here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write. Raises UserError where one of the two fails, or both did not train the same."""
    if options.steps < 2:
        raise UserError(f"--steps {options.steps}: at least 2")
    from bench.study_material import make_both  # here, so that listing and refusing come without torch

    model, steps = ("tiny", 2) if options.tiny else (options.model, options.steps)
    system, cores = SYSTEMS[options.peer], len(os.sched_getaffinity(0))
    python, loads = environment.peers_python(), [environment.load_average()]
    with tempfile.TemporaryDirectory() as temporary:
        both = make_both(model, steps, system, cores, Path(temporary))
        ours = timed_study(both, Path(temporary))
        loads.append(environment.load_average())
        peer = timed_peers(both.jobs, python)
        loads.append(environment.load_average())
        same = sameness(both, peer["losses"])
    found = make_record(both, model, steps, system, cores, ours, peer, same, loads)
    print(found["report"])
    if options.out:
        write(options.out, found)


def timed_study(both: Both, folder: Path) -> dict[str, float]:
    """`codetune study run` with nothing kept from before: seconds of wall clock, CPU seconds of all its processes."""
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(both.recipe.model_dump(mode="json")))
    command = [sys.executable, "-m", "codetune.cli", "study", "run", str(path)]
    say("codetune: the study")
    limits = {**environment.limited(os.cpu_count() or 1), "CODETUNE_CACHE": str(folder / "cache")}
    return _timed(command, limits)


def timed_peers(jobs: dict[str, Job], python: Path) -> dict[str, Any]:
    """One process for each run, one after the other."""
    found: dict[str, Any] = {"wall_s": 0.0, "cpu_s": 0.0, "losses": {}, "versions": {}}
    for number, (name, job) in enumerate(jobs.items(), 1):
        say(f"{job.system.name}: run {number} of {len(jobs)}")
        path = Path(job.scratch) / "job.json"
        job.save(path)
        answered: list[str] = []
        took = _timed([str(python), "-m", "bench.peer_trl", str(path)], environment.limited(job.threads), answered)
        measured = json.loads(answered[-1])
        found["wall_s"] += took["wall_s"]
        found["cpu_s"] += took["cpu_s"]
        found["losses"][name] = measured["losses"]
        found["versions"] = measured["versions"]
        if measured["tokens_seen"] != job.tokens:
            raise UserError(f"{job.system.name} saw {measured['tokens_seen']} tokens of {job.tokens}: no comparison")
    return found


def _timed(command: list[str], limits: dict[str, str], answered: list[str] | None = None) -> dict[str, float]:
    before, started = _children_cpu(), time.perf_counter()
    done = subprocess.run(command, cwd=CHECKOUT, env=limits, capture_output=True, text=True, timeout=TIMEOUT_S)
    took = {"wall_s": time.perf_counter() - started, "cpu_s": _children_cpu() - before}
    if done.returncode:
        raise UserError(f"{' '.join(command[1:4])} failed: {error_line(done.stderr, done.returncode)}")
    if answered is not None:
        answered += done.stdout.splitlines()
    return took


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sameness(both: Both, peers: dict[str, Sequence[float]]) -> dict[str, float]:
    """The largest relative difference of a run's first loss, and of any. Raises UserError where the first ones are not the same."""
    first, later = 0.0, 0.0
    for name, theirs in peers.items():
        ours = [row["loss"] for row in read_rows(both.recipe.folder / "cells" / name / "metrics.jsonl")]
        if len(ours) != len(theirs):
            raise UserError(f"{name}: {len(ours)} steps against the peer's {len(theirs)}")
        apart = [relative(one, other) for one, other in zip(theirs, ours, strict=True)]
        first, later = max(first, apart[0]), max(later, *apart)
    if first > SAME_LOSS:
        raise UserError(f"the first losses differ by {first:.2%}: both did not train the same, no comparison")
    return {"first": first, "any": later}


def make_record(
    both: Both, model: str, steps: int, system: System, cores: int, ours: dict[str, float], peer: dict[str, Any],
    same: dict[str, float], loads: list[float],
) -> dict[str, Any]:  # fmt: skip
    """Runs an hour by wall clock, which is the goal, and by CPU seconds of all processes."""
    runs = len(both.jobs)
    told = f"{runs} runs of {steps} steps, losses of the first step within {same['first']:.1e}, of all within {same['any']:.1e}"
    named = f"{system.name}, one after the other"
    rows = [
        compared("wall clock", named, runs * 3600 / ours["wall_s"], runs * 3600 / peer["wall_s"], "runs an hour", told, ("G8", 0)),
        compared("CPU seconds", named, runs * 3600 / ours["cpu_s"], runs * 3600 / peer["cpu_s"], "runs per CPU hour", told),
    ]
    versions = {"peers": peer["versions"]}
    times = {"ours": ours, "peer": {key: peer[key] for key in ("wall_s", "cpu_s")}}
    shape = {"model": model, "parameters": both.parameters, "tokens_of_a_run": both.tokens, "steps": steps, "cores": cores}
    report = f"""\
{model}, {both.parameters / 1e6:.1f}M parameters, LoRA rank 8, {runs} runs of {both.tokens} tokens in {steps} steps, {cores} cores; \
load {min(loads):.1f} to {max(loads):.1f}.

| | wall clock | CPU seconds |
|---|---:|---:|
| codetune, a study | {ours["wall_s"]:.0f} s | {ours["cpu_s"]:.0f} |
| {system.name}, {runs} scripts in turn | {peer["wall_s"]:.0f} s | {peer["cpu_s"]:.0f} |
| codetune is faster by | {rows[0]["ratio"]:.2f}x | {rows[1]["ratio"]:.2f}x |

{told[0].upper()}{told[1:]}."""
    return record("study", rows, loads, versions, times=times, report=report, **shape)
