"""Training speed against TRL+PEFT: text tokens per CPU second and per wall second, method by method, on the same text.

    python -m bench training [--model gpt2-shape] [--tokens 20000] [--repeats 3] [--out results.json]

Every measurement is a process of its own with one thread. Systems take turns (A B C, A B C, ...) and minima are compared, so
that a machine that is busy for a while hurts all alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import environment
from bench.job import Job, Measurement, System
from bench.material import GPT2_SHAPE, TINY, Base, default_model, make_base, take
from bench.table import Cell, counterpart, disagreement, markdown, ratio
from codetune.config import METHOD_NAMES
from codetune.errors import UserError, nearest

WHAT = "Training speed per method against TRL+PEFT on the same text."
HOW_LONG = "About half an hour on one idle core with the shipped model, one to two hours with --model gpt2-shape."
SYSTEMS = (
    System("codetune", peer=False, about="packed exactly, fp32"),
    System("codetune bf16", peer=False, precision="bf16", about="packed exactly, products in bf16"),
    System("TRL", peer=True, precision="bf16", checkpointing=True, about="SFTConfig's defaults: bf16 autocast, checkpointing, padded"),
    System("TRL, no checkpointing", peer=True, precision="bf16"),
    System("TRL fp32", peer=True, checkpointing=True, about="defaults, but in fp32"),
    System("TRL fp32, no checkpointing", peer=True),
    System("TRL, no checkpointing, padding-free", peer=True, precision="bf16", padding_free=True, about="full and LoRA only"),
)
LEARNING_RATES = {"full": 5e-4, "lora": 2e-3, "prefix_tuning": 1e-2, "prompt_tuning": 1e-2}
EXAMPLES_PER_STEP, EXAMPLES_PER_PASS = 32, 8  # TRL's default batch is 8
ROW_TOKENS, ROWS_PER_PASS = 512, 4  # codetune's defaults
TIMEOUT_S = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=None, help=f"a folder, {GPT2_SHAPE} (124M, random), {TINY}; default: the shipped model")
    parser.add_argument("--tokens", type=int, default=20_000, help="text tokens timed in each run, after one step of warm-up")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system; the fastest counts")
    parser.add_argument("--methods", default=",".join(METHOD_NAMES), help="comma-separated")
    parser.add_argument("--systems", default="", help="only those whose name holds one of these comma-separated words, e.g. 'codetune,fp32'")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON. Raises UserError for options that cannot work."""
    methods, systems = _methods(options.methods), _systems(options.systems)
    if min(options.tokens, options.repeats) < 1:
        raise UserError(f"--tokens {options.tokens} --repeats {options.repeats}: both must be at least 1")
    python = environment.peers_python(_say) if any(system.peer for system in systems) else Path(sys.executable)
    name, load_before = options.model or default_model(), environment.load_average()
    if load_before > 0.5:
        _say(f"the machine is busy (load {load_before:.1f}): wall seconds will be worth little, CPU seconds less than on an idle one")
    with tempfile.TemporaryDirectory() as temporary:
        base = make_base(name, methods, ROW_TOKENS, Path(temporary))
        jobs = [make_job(base, method, system, options.tokens, temporary) for method in methods for system in systems if fits(system, method)]
        cells = [measure(batch, options.repeats, python) for batch in _by_method(jobs)]
    flat = [cell for batch in cells for cell in batch]
    record = _record(options, base, flat, load_before)
    print(report(record, flat))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def fits(system: System, method: str) -> bool:
    """PEFT drops the positions under soft prompts and gives one prompt to a whole flattened batch: padding-free would be wrong."""
    return not (system.padding_free and method in ("prefix_tuning", "prompt_tuning"))


def make_job(base: Base, method: str, system: System, timed_tokens: int, temporary: str) -> Job:
    """The method's job for a system: one step of warm-up and as many more as `timed_tokens` text tokens take."""
    count, seen = EXAMPLES_PER_STEP, 0
    while seen < timed_tokens:
        count += EXAMPLES_PER_STEP
        seen = sum(map(len, take(base.examples, count)[0][EXAMPLES_PER_STEP:]))
    ids, prompt_lengths = take(base.examples, count)
    adapter = base.adapters.get(method)
    return Job(
        system=system, method=method, model=str(base.model), adapter=str(adapter) if adapter else None, ids=ids,
        prompt_lengths=prompt_lengths, examples_per_step=EXAMPLES_PER_STEP, learning_rate=LEARNING_RATES[method], row_tokens=ROW_TOKENS,
        rows_per_pass=ROWS_PER_PASS, examples_per_pass=EXAMPLES_PER_PASS, scratch=temporary,
    )  # fmt: skip


def measure(jobs: Sequence[Job], repeats: int, peers: Path) -> list[Cell]:
    """All systems of one method in turns. A system that failed is not tried again."""
    cells = [Cell(job.method, job.system, job.timed_tokens, job.tokens) for job in jobs]
    for repeat in range(repeats):
        for job, cell in zip(jobs, cells, strict=True):
            if cell.failure:
                continue
            cell.loads.append(environment.load_average())
            outcome = _measure_once(job, peers if job.system.peer else Path(sys.executable))
            if isinstance(outcome, str):
                cell.failure = outcome
                _say(f"{job.method}, {job.system.name}: failed: {outcome}")
                continue
            cell.repeats.append(outcome)
            _say(f"{job.method}, {job.system.name}, run {repeat + 1} of {repeats}: {job.timed_tokens / outcome.cpu_seconds:,.0f} per CPU s")
    return cells


def report(record: dict[str, Any], cells: Sequence[Cell]) -> str:
    """The table with what is needed to read it."""
    versions = {**record["versions"]["peers"], **record["versions"]["ours"]}
    loads = [load for cell in cells for load in cell.loads]
    lines = [
        f"Training speed, {record['model']} ({record['parameters'] / 1e6:.1f}M parameters), {cells[0].timed_tokens} text tokens timed, "
        f"{record['text_tokens_per_example']:.0f} per pair, best of {record['repeats']} runs, {record['threads']} thread.",
        f"{record['machine']['processor']}, {record['machine']['cores']} cores; load {min(loads):.1f} to {max(loads):.1f}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "",
        markdown(cells),
        "",
        "Faster by: codetune's text tokens per CPU second, in the row's precision, over the row's. Padding and virtual tokens do not count.",
    ]
    return "\n".join(lines)


def _record(options: argparse.Namespace, base: Base, cells: Sequence[Cell], load_before: float) -> dict[str, Any]:
    """Everything measured, and what is needed to measure it again."""
    rows = [
        {
            **dataclasses.asdict(cell),
            "tokens_per_cpu_s": cell.tokens_per_cpu_s if cell.repeats and not cell.failure else None,
            "tokens_per_wall_s": cell.tokens_per_wall_s if cell.repeats and not cell.failure else None,
            "disagreement": disagreement(cell, counterpart(cell, cells)),
            "codetune_is_faster_by": ratio(cell, counterpart(cell, cells)),
        }
        for cell in cells
    ]
    versions = {side: next((c.repeats[0].versions for c in cells if c.repeats and c.system.peer is peer), {}) for side, peer in _SIDES}
    return {
        "benchmark": "training", "model": base.name, "parameters": base.parameters, "repeats": options.repeats, "threads": 1,
        "text_tokens_per_example": float(base.examples.lengths.mean()), "learning_rates": LEARNING_RATES, "machine": environment.machine(),
        "examples_per_step": EXAMPLES_PER_STEP, "load_before": load_before, "versions": versions, "cells": rows,
    }  # fmt: skip


_SIDES = (("ours", False), ("peers", True))


def _measure_once(job: Job, python: Path) -> Measurement | str:
    """One process: its measurement, or the first line of what went wrong."""
    with tempfile.TemporaryDirectory(dir=job.scratch) as scratch:
        path = Path(scratch) / "job.json"
        dataclasses.replace(job, scratch=scratch).save(path)
        command = [str(python), "-m", "bench.peer_trl" if job.system.peer else "bench.ours", str(path)]
        try:
            done = subprocess.run(
                command, cwd=environment.HERE.parent, env=environment.one_thread(job.threads), capture_output=True, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return f"not done after {TIMEOUT_S} s"
    if done.returncode:
        return error_line(done.stderr, done.returncode)
    return Measurement(**json.loads(done.stdout.splitlines()[-1]))


def error_line(stderr: str, returncode: int) -> str:
    """The first line of the exception that ended a process: the first unindented line after its last traceback."""
    lines = stderr.rstrip().splitlines()
    last = max((i for i, line in enumerate(lines) if line.startswith("Traceback ")), default=-1)
    after = [line for line in lines[last + 1 :] if line.strip() and not line.startswith(" ")] if last >= 0 else lines[-1:]
    return after[0].strip() if after else f"ended with exit code {returncode}"


def _by_method(jobs: Sequence[Job]) -> list[list[Job]]:
    return [[job for job in jobs if job.method == method] for method in dict.fromkeys(job.method for job in jobs)]


def _methods(given: str) -> list[str]:
    methods = [name.strip() for name in given.split(",")]
    for name in methods:
        if name not in METHOD_NAMES:
            raise UserError(f"no method {name!r}: {nearest(name, METHOD_NAMES)}")
    return methods


def _systems(given: str) -> list[System]:
    words = [word.strip().lower() for word in given.split(",") if word.strip()]
    chosen = [system for system in SYSTEMS if not words or any(word in system.name.lower() for word in words)]
    if not chosen:
        raise UserError(f"no system's name holds any of {given!r}: they are {'; '.join(system.name for system in SYSTEMS)}")
    return chosen


_say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
