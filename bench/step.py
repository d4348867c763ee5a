"""One training step on full rows: text tokens per CPU second against TRL+PEFT and transformers, and the share of the machine's matrix rate.

    python -m bench step [--tiny] [--methods lora] [--steps 2] [--repeats 2] [--out results.json]

GPT-2 124M's shape with its vocabulary, random weights, LoRA of rank 8 on all linear layers, or full fine-tuning. A step is 8 rows of 512
text tokens, full to the brim, all under the loss: 8 rows a pass for the peers (TRL's default batch), 4 for codetune (its own default). The
same weights, tokens, steps and AdamW for all; a process of one thread each, in turns, the fastest counts (bench/turns.py); the first step
warms up. A share is of the fastest bf16 product that was seen in the same run: operations that the step needs (as `codetune plan` counts
them: none twice, attention over whole rows) per CPU second, over the rate.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.environment import say
from bench.job import Job, System
from bench.table import Cell, agreement, counterpart, disagreement
from bench.training import LEARNING_RATES, ROWS_PER_PASS
from bench.turns import measure, measured
from codetune.errors import UserError, nearest

WHAT = "A training step on full rows of GPT-2 124M's shape, against TRL+PEFT and transformers with autocast (G1, G1b, G2)."
HOW_LONG = "About twelve minutes; --tiny: one."
ROWS, ROW_TOKENS = 8, 512  # of a step; TRL's default batch is 8
OURS = System("codetune", peer=False, precision="bf16", about="`train.precision: bf16`, four rows a pass")
PLAIN = System("codetune, train.fast: false", peer=False, precision="bf16", fast=False)
COMPILED = System("codetune, train.compile: true", peer=False, precision="bf16", compile=True)
TRL = System("TRL", peer=True, precision="bf16", checkpointing=True, about="SFTConfig's defaults")
TRL_ONCE = System("TRL, no checkpointing", peer=True, precision="bf16")
AUTOCAST = System("transformers, bf16 autocast", peer=True, precision="bf16", by_hand=True, about="a loop by hand")
SYSTEMS = {"lora": (OURS, TRL, TRL_ONCE, AUTOCAST), "full": (OURS, TRL)}
AIMED = {
    ("lora", TRL.name): ("G1", 0), ("lora", TRL_ONCE.name): ("G1b", 0), ("lora", AUTOCAST.name): ("G1b", 1), ("full", TRL.name): ("G2", 0),
}  # fmt: skip
HEAD = ("method", "system", "text tokens per CPU s", "share of the bf16 rate", "peak memory", "same training?", "codetune is faster by")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--methods", default=",".join(SYSTEMS), help=f"some of {', '.join(SYSTEMS)}")
    parser.add_argument("--steps", type=int, default=2, help="optimiser steps that are timed, after one that warms up")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each system; the fastest counts")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of a step, {ROW_TOKENS} tokens each")
    parser.add_argument("--plain", action="store_true", help="codetune without its own faster computations as well")
    parser.add_argument("--compiled", action="store_true", help="codetune with its layers compiled as well: a minute more for each run")
    parser.add_argument("--ours-alone", action="store_true", help="without the peers")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and one short step: to see that it works")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON. Raises UserError for options that cannot work."""
    methods = [name.strip() for name in options.methods.split(",")]
    for name in methods:
        if name not in SYSTEMS:
            raise UserError(f"no method {name!r}: {nearest(name, SYSTEMS)}")
    if min(options.steps, options.repeats, options.rows) < 1:
        raise UserError(f"--steps {options.steps} --repeats {options.repeats} --rows {options.rows}: all must be at least 1")
    from bench.step_model import make_step_model, operations_per_token  # here, so that listing and refusing come without torch

    python = Path(sys.executable) if options.ours_alone else environment.peers_python()
    cells: list[Cell] = []
    more = [*[PLAIN] * options.plain, *[COMPILED] * options.compiled]
    rates: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as temporary:
        model = make_step_model(Path(temporary), methods, options.tiny)
        operations = {method: operations_per_token(model.outline, method, ROW_TOKENS) for method in methods}
        for method in methods:
            systems = [one for one in (*SYSTEMS[method], *more) if not (one.peer and options.ours_alone)]
            rates.append(measured(Path(sys.executable), "bench.rate", *model.widest))
            say(f"matrix rate: {rates[-1]['bf16'] / 1e9:.0f} GFLOP/s in bf16, {rates[-1].get('fp32', 0) / 1e9:.0f} in fp32")
            cells += measure([make_job(model.folder, model.vocabulary, method, one, options) for one in systems], options.repeats, python)
        rates.append(measured(Path(sys.executable), "bench.rate", *model.widest))
    found = make_record(cells, operations, rates, model.name)
    print(report(found))
    if options.out:
        results.write(options.out, found)


def make_job(folder: Path, vocabulary: int, method: str, system: System, options: argparse.Namespace) -> Job:
    """The same rows for every system; every token but a row's first is predicted."""
    draw = random.Random(0)
    ids = [[draw.randrange(2, vocabulary) for _ in range(ROW_TOKENS)] for _ in range(options.rows * (options.steps + 1))]
    return Job(
        system=system, method=method, model=str(folder / "model"), adapter=None if method == "full" else str(folder / method),
        start_ids=[2], ids=ids, prompt_lengths=[1] * len(ids), examples_per_step=options.rows, learning_rate=LEARNING_RATES[method],
        row_tokens=ROW_TOKENS, rows_per_pass=ROWS_PER_PASS, examples_per_pass=options.rows, scratch=str(folder),
    )  # fmt: skip


def make_record(cells: Sequence[Cell], operations: dict[str, int], rates: Sequence[dict[str, float]], model: str) -> dict[str, Any]:
    """Everything measured: a row for each peer, and a measurement for each system."""
    rate = {kind: max(one.get(kind, 0.0) for one in rates) for kind in sorted({kind for one in rates for kind in one})}
    rows = [_row(cell, counterpart(cell, cells)) for cell in cells if cell.system.peer]
    loads = [load for cell in cells for load in cell.loads]
    return results.record(
        "step", rows, [min(loads), max(loads)], _versions(cells), model=model, threads=1, operations_per_token=operations,
        operations_per_cpu_s=rate, systems=[_system(cell, operations[cell.method], rate["bf16"], cells) for cell in cells],
    )  # fmt: skip


def _row(cell: Cell, ours: Cell | None) -> dict[str, Any]:
    why = disagreement(cell, ours)
    speeds = (ours.tokens_per_cpu_s if ours and not why else None, None if cell.failure else cell.tokens_per_cpu_s)
    same = f"no: {why}" if why else agreement(cell, ours)
    what = "LoRA, rank 8" if cell.method == "lora" else "full fine-tuning"
    return results.compared(what, cell.system.name, *speeds, "text tokens per CPU s", same, AIMED.get((cell.method, cell.system.name)))


def _system(cell: Cell, operations: int, rate: float, cells: Sequence[Cell]) -> dict[str, Any]:
    found: dict[str, Any] = {"method": cell.method, "system": cell.system.name, "failure": cell.failure, "loads": cell.loads}
    if cell.failure or not cell.repeats:
        return found
    own = counterpart(cell, cells)
    return found | {
        "tokens_per_cpu_s": cell.tokens_per_cpu_s, "share_of_rate": cell.tokens_per_cpu_s * operations / rate,
        "peak_memory_bytes": cell.peak_memory_bytes, "cpu_seconds": [one.cpu_seconds for one in cell.repeats],
        "losses": cell.repeats[0].losses, "first_loss_within": None if own is None else _apart(cell, own)[0],
    }  # fmt: skip


def _apart(cell: Cell, ours: Cell) -> list[float]:
    return [abs(a - b) / abs(b) for a, b in zip(cell.repeats[0].losses, ours.repeats[0].losses, strict=True)]


def _versions(cells: Sequence[Cell]) -> dict[str, str]:
    return {name: version for cell in cells for one in cell.repeats[:1] for name, version in one.versions.items()}


def report(found: dict[str, Any]) -> str:
    """The table with what is needed to read it."""
    machine, rate = found["machine"], found["operations_per_cpu_s"]
    ratios = {(row["what"], row["against"]): row for row in found["rows"]}
    rows = [HEAD, tuple("---" if i < 2 else "---:" for i in range(len(HEAD)))]
    for one in found["systems"]:
        row = ratios.get(("LoRA, rank 8" if one["method"] == "lora" else "full fine-tuning", one["system"]))
        if "tokens_per_cpu_s" not in one:
            rows.append((one["method"], one["system"], "-", "-", "-", f"failed: {one['failure']}", "-"))
            continue
        speeds = (f"{one['tokens_per_cpu_s']:,.0f}", f"{100 * one['share_of_rate']:.0f}%", f"{one['peak_memory_bytes'] / 1e9:.2f} GB")
        same = row["same"] if row else f"first loss {one['losses'][0]:.4f}"
        faster = f"{row['ratio']:.2f}x" if row and row["ratio"] else "-" if row else ""
        rows.append((one["method"], one["system"], *speeds, same, faster))
    rates = ", ".join(f"{kind} {value / 1e9:,.0f}" for kind, value in rate.items())
    per_token = ", ".join(f"{method} {value / 1e6:,.0f} million" for method, value in found["operations_per_token"].items())
    return f"""\
{found["model"]}, 1 thread. {machine["processor"]}, {machine["cores"]} cores; load {found["load"][0]:.1f} to {found["load"][1]:.1f}. \
{", ".join(f"{name} {version}" for name, version in found["versions"].items())}.
GFLOP/s of a matrix product in this run: {rates} (bf16 and fp32 by oneDNN). Operations that a token needs: {per_token}.

{chr(10).join(f"| {' | '.join(row)} |" for row in rows)}"""
