"""Soft prompts on packed rows, against TRL+PEFT: prompt- and prefix-tuning of one small GPT-2 by TRL packed, TRL padded, and codetune.

    python -m bench soft-prompts                   # minutes; what is measured is kept, and not measured again
    python -m bench soft-prompts --write-docs      # docs/studies/packing.md and its figure from what was kept

All start from the same weights and virtual tokens and learn from the same pairs in the same order, with the same optimiser, in float32 on
one thread. Each training is a process of its own, and the systems take turns. Whoever trained them, the adapters are judged by one and the
same code (bench/soft_answers.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment
from bench.environment import say
from bench.soft_parts import (
    ATTEMPTS,
    LEARNING_RATES,
    METHODS,
    PAIRS_PER_STEP,
    ROWS_PER_PASS,
    VIRTUAL_TOKENS,
    Part,
    adapter_of,
    make_job,
    parts,
    supervised_tokens,
)
from bench.turns import measure_once
from codetune.errors import UserError
from codetune.runs import write_json

if TYPE_CHECKING:
    from bench.soft_base import SoftBase

WHAT = "Prompt- and prefix-tuning of a small GPT-2 on packed rows against TRL+PEFT: loss, answers, time."
HOW_LONG = "About 20 CPU minutes, the base model's training included; it goes on where it was stopped."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=40, help=f"optimiser steps of {PAIRS_PER_STEP} pairs")
    parser.add_argument("--seeds", type=int, default=2, help="seeds 0, 1, ...")
    parser.add_argument("--problems", type=int, default=60, help="problems of basics-known to answer")
    parser.add_argument("--max-new-tokens", type=int, default=100, help="of an answer")
    parser.add_argument("--base-tokens", type=int, default=0, help="tokens that the base is trained on first; 0: the study's")
    parser.add_argument("--ours-alone", action="store_true", help="without the peers: to see that it works")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "bench-soft-prompts", help="base, adapters and results.json")
    parser.add_argument("--write-docs", action="store_true", help="measure nothing: write the page and its figure from what was kept")


def run(options: argparse.Namespace) -> None:
    """Measure what is not kept yet, and print the tables. Raises UserError for options that cannot work."""
    if min(options.steps - 1, options.seeds, options.problems, options.max_new_tokens) < 1:
        raise UserError("--steps must be at least 2, --seeds, --problems and --max-new-tokens at least 1")
    from bench import soft_page

    if options.write_docs:
        soft_page.write(options.folder / "results.json")
        return
    options.folder = options.folder.resolve()  # measuring processes run elsewhere
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch  # here, so that listing, refusing and writing come without it

    from bench.soft_base import BASE_TOKENS, soft_base

    torch.set_num_threads(1)
    python = Path(sys.executable) if options.ours_alone else environment.peers_python()
    made = soft_base(options.folder / "base", list(METHODS), options.base_tokens or BASE_TOKENS)
    record, save = _record(options, made)
    if not options.ours_alone:
        _try_peers_defaults(made, options.folder, python, record, save)
    _train_all(made, options, python, record, save)
    _judge_all(made, options, python, record, save)
    print(soft_page.tables(record))


def _train_all(made: SoftBase, options: argparse.Namespace, python: Path, record: dict[str, Any], save: Callable[[], None]) -> None:
    planned = parts(options.seeds, options.ours_alone)
    for number, part in enumerate(planned, 1):
        adapter = adapter_of(options.folder, part)
        if part.key in record["runs"] and adapter.exists():
            continue
        rows = 1 if part.system.packing else ROWS_PER_PASS
        job = dataclasses.replace(make_job(made, part, options.steps, rows, options.folder), keep=str(adapter.resolve()))
        load = environment.load_average()
        outcome = measure_once(job, python if part.system.peer else Path(sys.executable))
        found = dataclasses.asdict(part) | {"load": load, "supervised_tokens": supervised_tokens(job)}
        if isinstance(outcome, str):
            found["failed"] = outcome
            say(f"{number}/{len(planned)} {part.key}: failed: {outcome}")
        else:
            found |= dataclasses.asdict(outcome)
            versions = record["versions"]["peers" if part.system.peer else "codetune"]
            versions |= found.pop("versions")
            # Of steps of equal size but for rounding; packed rows make other steps than pairs do.
            found["timed_tokens"] = round(job.tokens * (1 - 1 / len(outcome.losses))) if part.system.packing else job.timed_tokens
            say(f"{number}/{len(planned)} {part.key}: loss {outcome.losses[-1]:.3f}, {outcome.cpu_seconds:.1f} CPU s")
        record["runs"][part.key] = found
        record["answers"].pop(part.key, None)
        save()


def _try_peers_defaults(made: SoftBase, folder: Path, python: Path, record: dict[str, Any], save: Callable[[], None]) -> None:
    for method in METHODS:
        for system, rows in ATTEMPTS:
            part = Part(method, system, 0)
            if part.key in record["attempts"]:
                continue
            outcome = measure_once(make_job(made, part, 3, rows, folder), python)
            said = {"failed": outcome} if isinstance(outcome, str) else {"losses": outcome.losses}
            record["attempts"][part.key] = {"method": method, "system": dataclasses.asdict(system), "batch": rows} | said
            say(f"{part.key}: {said}")
            save()


def _judge_all(made: SoftBase, options: argparse.Namespace, python: Path, record: dict[str, Any], save: Callable[[], None]) -> None:
    """The untuned model, and every adapter that was trained."""
    from bench.soft_answers import BENCHMARK, judge, peft_answers
    from codetune.config import DecodingConfig
    from codetune.data.benchmarks import load
    from codetune.score.verdicts import open_checker

    whole = load(BENCHMARK)
    benchmark = dataclasses.replace(whole, problems=whole.problems[:: max(1, len(whole.problems) // options.problems)][: options.problems])
    decoding = DecodingConfig(max_new_tokens=options.max_new_tokens, batch_size=20)
    adapters = {part.key: adapter_of(options.folder, part) for part in parts(options.seeds, options.ours_alone)}
    wanted = {key: path for key, path in adapters.items() if path.exists() and key not in record["answers"]}
    if not wanted and "base" in record["answers"]:
        return
    written = {} if options.ours_alone or not wanted else peft_answers(python, made.base.model, wanted, benchmark, decoding)
    row_tokens = made.about["positions"] - VIRTUAL_TOKENS
    everything: dict[str, Path | None] = {**wanted} if "base" in record["answers"] else {"base": None, **wanted}
    with open_checker() as sandbox:
        for key, adapter in everything.items():
            found = judge(made.base.model, adapter, made.held_out, benchmark, decoding, written.get(key, {}), sandbox, row_tokens)
            record["answers"][key] = found
            say(f"{key}: held-out {found['held_out_loss']:.4f}, {100 * found['own']['pass']:.0f}% pass")
            save()


def _record(options: argparse.Namespace, made: SoftBase) -> tuple[dict[str, Any], Callable[[], None]]:
    """What was kept under the same settings, and how it is kept. Raises UserError where the folder has results of other settings."""
    from bench.soft_answers import BENCHMARK

    settings = {
        "steps": options.steps, "problems": options.problems, "max_new_tokens": options.max_new_tokens, "benchmark": BENCHMARK,
        "pairs_per_step": PAIRS_PER_STEP, "learning_rates": LEARNING_RATES, "virtual_tokens": VIRTUAL_TOKENS,
        "held_out": len(made.held_out), "threads": 1, "precision": "fp32", "row_tokens": made.about["positions"] - VIRTUAL_TOKENS,
    }  # fmt: skip
    path = options.folder / "results.json"
    record: dict[str, Any] = {
        "benchmark": "soft-prompts", "machine": environment.machine(), "versions": {"codetune": {}, "peers": {}}, "base": made.about,
        "settings": settings, "attempts": {}, "runs": {}, "answers": {},
    }  # fmt: skip
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        if kept["settings"] != settings:
            raise UserError(f"{path} was measured with other settings: give another --folder, or the settings {kept['settings']}")
        record = kept
    else:
        shutil.rmtree(options.folder / "adapters", ignore_errors=True)
    return record, lambda: write_json(path, record)
