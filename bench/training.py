"""Training speed against TRL+PEFT: text tokens per CPU second and per wall second, method by method, on the same text.

    python -m bench training [--model gpt2-shape] [--tokens 20000] [--repeats 3] [--out results.json]

Every measurement is a process of its own with one thread; systems take turns and minima are compared (bench/turns.py). All start
from the same weights and see the same pairs in the same optimiser steps; that they do is checked by their losses.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment
from bench.environment import say
from bench.job import Job, System
from bench.table import Cell, counterpart, disagreement, markdown, ratio
from bench.turns import measure
from codetune.errors import UserError, nearest

if TYPE_CHECKING:
    from bench.material import Base

COMPARED = ("full", "lora", "prefix_tuning", "prompt_tuning")  # what TRL with PEFT has as well
WHAT = "Training speed per method against TRL+PEFT on the same text."
HOW_LONG = "About 40 minutes on an idle machine; an hour with --model gpt2-shape --tokens 6000."
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
BUSY = 0.5  # load average


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=None, help="a folder, or gpt2-shape (124M random weights), or tiny; default: the shipped model")
    parser.add_argument("--tokens", type=int, default=20_000, help="text tokens timed in each run, after one step of warm-up")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system; the fastest counts")
    parser.add_argument("--methods", default=",".join(COMPARED), help="comma-separated")
    parser.add_argument("--systems", default="", help="only those whose names hold one of these comma-separated words")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON. Raises UserError for options that cannot work."""
    methods, systems = _methods(options.methods), _systems(options.systems)
    if min(options.tokens, options.repeats) < 1:
        raise UserError(f"--tokens {options.tokens} --repeats {options.repeats}: both must be at least 1")
    from bench.material import default_model, make_base, take  # here, so that listing and refusing come without torch

    load_before = environment.load_average()
    if load_before > BUSY:
        say(f"this machine is busy (load {load_before:.1f}): measure on an idle one, or take these numbers for a trial")
    python = environment.peers_python() if any(system.peer for system in systems) else Path(sys.executable)
    with tempfile.TemporaryDirectory() as temporary:
        base = make_base(options.model or default_model(), methods, ROW_TOKENS, Path(temporary))
        text = take(base.examples, options.tokens, EXAMPLES_PER_STEP)
        pairs = [(method, system) for method in methods for system in systems if fits(system, method)]
        jobs = [make_job(base, text, method, system) for method, system in pairs]
        cells = [cell for alike in _by_method(jobs) for cell in measure(alike, options.repeats, python)]
    record = make_record(base, cells, load_before)
    print(report(record, cells))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def fits(system: System, method: str) -> bool:
    """PEFT drops the positions under soft prompts and gives one prompt to a whole flattened batch: padding-free would be wrong."""
    return not (system.padding_free and method in ("prefix_tuning", "prompt_tuning"))


def make_job(base: Base, text: tuple[list[list[int]], list[int]], method: str, system: System) -> Job:
    """What a system is told: the same for all systems of a method but for the system itself."""
    adapter = base.adapters.get(method)
    return Job(
        system=system, method=method, model=str(base.model), adapter=str(adapter) if adapter else None, start_ids=base.start_ids,
        ids=text[0], prompt_lengths=text[1], examples_per_step=EXAMPLES_PER_STEP, learning_rate=LEARNING_RATES[method],
        row_tokens=ROW_TOKENS, rows_per_pass=ROWS_PER_PASS, examples_per_pass=EXAMPLES_PER_PASS, scratch=str(base.model.parent),
    )  # fmt: skip


def make_record(base: Base, cells: Sequence[Cell], load_before: float) -> dict[str, Any]:
    """Everything measured, and what is needed to measure it again."""
    versions = [next((c.repeats[0].versions for c in cells if c.repeats and c.system.peer is peer), {}) for peer in (False, True)]
    return {
        "benchmark": "training", "model": base.name, "parameters": base.parameters, "pair_tokens": float(base.examples.lengths.mean()),
        "examples_per_step": EXAMPLES_PER_STEP, "examples_per_pass": EXAMPLES_PER_PASS, "learning_rates": LEARNING_RATES, "threads": 1,
        "machine": environment.machine(), "load_before": load_before, "versions": {"codetune": versions[0], "peers": versions[1]},
        "cells": [_cell_record(cell, cells) for cell in cells],
    }  # fmt: skip


def report(record: dict[str, Any], cells: Sequence[Cell]) -> str:
    """The table with what is needed to read it."""
    loads, machine = [load for cell in cells for load in cell.loads], record["machine"]
    versions = {**record["versions"]["peers"], **record["versions"]["codetune"]}
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    runs = max(len(cell.repeats) for cell in cells)
    return f"""\
{record["model"]}, {record["parameters"] / 1e6:.1f}M parameters; {cells[0].timed_tokens} text tokens timed in pairs of \
{record["pair_tokens"]:.0f} on average; the fastest of {runs} runs, 1 thread.
{machine["processor"]}, {machine["cores"]} cores; load {min(loads):.1f} to {max(loads):.1f}. {named}.

{markdown(cells)}

Only the pairs' own tokens count, no padding and no virtual tokens. Faster by: codetune's text tokens per CPU second in the row's \
precision over the row's."""


def _cell_record(cell: Cell, cells: Sequence[Cell]) -> dict[str, Any]:
    ours, measured = counterpart(cell, cells), bool(cell.repeats) and not cell.failure
    return {
        **dataclasses.asdict(cell),
        "tokens_per_cpu_s": cell.tokens_per_cpu_s if measured else None,
        "tokens_per_wall_s": cell.tokens_per_wall_s if measured else None,
        "disagreement": disagreement(cell, ours),
        "codetune_is_faster_by": ratio(cell, ours),
    }


def _by_method(jobs: Sequence[Job]) -> list[list[Job]]:
    return [[job for job in jobs if job.method == method] for method in dict.fromkeys(job.method for job in jobs)]


def _methods(given: str) -> list[str]:
    methods = [name.strip() for name in given.split(",")]
    for name in methods:
        if name not in COMPARED:
            raise UserError(f"no method {name!r}: {nearest(name, COMPARED)}")
    return methods


def _systems(given: str) -> list[System]:
    words = [word.strip().lower() for word in given.split(",") if word.strip()]
    chosen = [system for system in SYSTEMS if not words or any(word in system.name.lower() for word in words)]
    if not chosen:
        raise UserError(f"no system's name holds any of {given!r}: they are {'; '.join(system.name for system in SYSTEMS)}")
    return chosen
