"""Soft prompts on short pairs: useful tokens per CPU second, codetune packed exactly against TRL+PEFT padded, its only correct mode.

    python -m bench packed-prompts [--tiny] [--pairs 96] [--steps 1] [--repeats 2] [--out results.json]

CoNaLa's training pairs (from the CODETUNE_DATA folder) in the style `instruction`, in GPT-2's own tokenizer where that folder has it;
prompt- and prefix-tuning with 20 virtual tokens of GPT-2 124M's shape with random weights. The same start, pairs, steps and AdamW for
all; the text tokens of the pairs alone count, no padding and no virtual tokens. TRL takes 8 pairs a pass, its default; codetune rows of
512. PEFT's prefixes do not survive TRL's activation checkpointing, so the goal is held against TRL without it, which is faster as well.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.job import Job, System
from bench.table import Cell, agreement, counterpart, disagreement, markdown
from bench.training import LEARNING_RATES
from bench.turns import measure
from codetune.data import conala
from codetune.data.files import DATA_VARIABLE, find_data
from codetune.errors import UserError

WHAT = "Soft prompts on CoNaLa's short pairs, packed, against TRL+PEFT padded: useful tokens per CPU second (G3)."
HOW_LONG = "About ten minutes; --tiny: one."
METHODS = ("prompt_tuning", "prefix_tuning")
OURS = System("codetune", peer=False, precision="bf16", about="packed exactly")
TRL = System("TRL", peer=True, precision="bf16", checkpointing=True, about="SFTConfig's defaults, padded")
TRL_ONCE = System("TRL, no checkpointing", peer=True, precision="bf16", about="padded")
SYSTEMS = (OURS, TRL, TRL_ONCE)
ROW_TOKENS, PAIRS_PER_PASS = 512, 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=None, help="conala-train.json; default: from the CODETUNE_DATA folder")
    parser.add_argument("--pairs", type=int, default=96, help=f"of an optimiser step, a multiple of {PAIRS_PER_PASS}")
    parser.add_argument("--steps", type=int, default=1, help="optimiser steps that are timed, after one that warms up")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each system; the fastest counts")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: to see that it works")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON. Raises UserError where the pairs are missing, or for options that cannot work."""
    if min(options.steps, options.repeats, options.pairs) < 1 or options.pairs % PAIRS_PER_PASS:
        raise UserError(
            f"--pairs {options.pairs} --steps {options.steps} --repeats {options.repeats}: all must be at least 1, and pairs a multiple of "
            f"{PAIRS_PER_PASS}"
        )
    problems = conala.load_train(find_data(conala.TRAIN_FILE, options.data))
    from bench.packed_model import make_packed_model  # here, so that listing and refusing come without torch

    python = environment.peers_python()
    with tempfile.TemporaryDirectory() as temporary:
        given = Path(os.environ.get(DATA_VARIABLE, "")) / "gpt2_tokenizer"
        made = make_packed_model(Path(temporary), METHODS, problems, given if given.is_dir() else None, options.tiny)
        count = options.pairs * (options.steps + 1)
        if count > len(made.ids):
            raise UserError(f"--pairs {options.pairs} --steps {options.steps}: there are {len(made.ids)} pairs, and one step warms up")
        jobs = [[make_job(made, method, system, options) for system in SYSTEMS] for method in METHODS]
        cells = [cell for alike in jobs for cell in measure(alike, options.repeats, python)]
        found = make_record(cells, fills(jobs[0][0]), made.name, made.tokenizer)
    print(report(found, cells))
    if options.out:
        results.write(options.out, found)


def make_job(made: Any, method: str, system: System, options: argparse.Namespace) -> Job:
    """The same pairs for every system."""
    count = options.pairs * (options.steps + 1)
    return Job(
        system=system, method=method, model=str(made.folder / "model"), adapter=str(made.folder / method), start_ids=made.start_ids,
        ids=made.ids[:count], prompt_lengths=made.prompt_lengths[:count], examples_per_step=options.pairs,
        learning_rate=LEARNING_RATES[method], row_tokens=ROW_TOKENS, rows_per_pass=1, examples_per_pass=PAIRS_PER_PASS,
        scratch=str(made.folder),
    )  # fmt: skip


def fills(job: Job) -> dict[str, float]:
    """Useful tokens' share of what each side computes, in the steps that are timed: rows and batches, then with virtual tokens."""
    from bench.material import METHODS as SETTINGS
    from bench.ours import material

    virtual, made = getattr(SETTINGS["prompt_tuning"], "num_virtual_tokens", 0), material(job)
    steps = list(zip(made.steps, job.steps, strict=True))[1:]
    rows = sum(len(step) for step, _ in steps)
    useful = sum(len(job.ids[i]) for _, step in steps for i in step)
    padded = examples = 0
    for _, step in steps:
        for at in range(0, len(step), job.examples_per_pass):
            batch = [len(job.ids[i]) for i in step[at : at + job.examples_per_pass]]
            padded, examples = padded + max(batch) * len(batch), examples + len(batch)
    return {
        "packed": useful / (rows * ROW_TOKENS), "packed_with_virtual": useful / (rows * (ROW_TOKENS + virtual)),
        "padded": useful / padded, "padded_with_virtual": useful / (padded + examples * virtual),
    }  # fmt: skip


def make_record(cells: Sequence[Cell], fill: dict[str, float], model: str, tokenizer: str) -> dict[str, Any]:
    """A row for each method and peer."""
    rows = []
    for cell in cells:
        if not cell.system.peer:
            continue
        ours = counterpart(cell, cells)
        why = disagreement(cell, ours)
        speeds = (ours.tokens_per_cpu_s if ours and not why else None, None if cell.failure else cell.tokens_per_cpu_s)
        same = f"no: {why}" if why else agreement(cell, ours)
        aimed = ("G3", 0) if cell.system == TRL_ONCE else None
        what = cell.method.replace("_", "-")
        rows.append(results.compared(what, f"{cell.system.name}, padded", *speeds, "useful tokens per CPU s", same, aimed))
    loads = [load for cell in cells for load in cell.loads]
    versions = {name: version for cell in cells for one in cell.repeats[:1] for name, version in one.versions.items()}
    seconds = {f"{cell.method}, {cell.system.name}": [one.cpu_seconds for one in cell.repeats] for cell in cells}
    return results.record(
        "packed-prompts", rows, [min(loads), max(loads)], versions, model=model, tokenizer=tokenizer, fill=fill,
        timed_tokens=cells[0].timed_tokens, cpu_seconds=seconds,
    )  # fmt: skip


def report(found: dict[str, Any], cells: Sequence[Cell]) -> str:
    """The table with what is needed to read it."""
    machine, fill = found["machine"], {name: f"{100 * share:.0f}%" for name, share in found["fill"].items()}
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"""\
{found["model"]}, {found["tokenizer"]}; {found["timed_tokens"]} text tokens timed, 1 thread. {machine["processor"]}, {machine["cores"]} \
cores; load {found["load"][0]:.1f} to {found["load"][1]:.1f}. {versions}.
Useful tokens' share of what is computed: packed {fill["packed"]} ({fill["packed_with_virtual"]} with virtual tokens, once a row), \
padded {fill["padded"]} ({fill["padded_with_virtual"]} with virtual tokens, once a pair).

{markdown(cells)}"""
