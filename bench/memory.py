"""Peak memory of two training steps on a CPU beside its forecast, method by method, on random weights of true shapes.

    python -m bench memory [--only "lora fp32,full"] [--out memory.json]

On a GPU `python -m bench gpu` does it, beside TRL's.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from bench import parts
from bench.children import Host

WHAT = "Peak memory of every method on a CPU, on random weights of true shapes, beside codetune's forecast."
HOW_LONG = "About a minute a part on a CPU core, 64 parts and their forecasts, resumable; --tiny: seconds a part."
PUBLISHED_METHODS = ("full", "lora", "prefix_tuning", "prompt_tuning")  # LoRA of rank 16, 20 virtual tokens, rows of 1,024
PUBLISHED_GB: dict[str, tuple[float | None, float | None, float | None, float | None]] = {
    "gpt2": (7.15, 6.91, 5.85, 6.17), "gpt2-medium": (17.19, 16.49, 13.59, 14.37), "gpt2-large": (31.56, 29.82, 24.33, 25.83),
    "gpt2-xl": (52.85, 48.94, 39.72, 42.19), "codellama-7b": (50.23, 37.33, 22.91, 23.39), "mistral-7b": (54.98, 41.80, None, 26.52),
}  # fmt: skip
HEAD = (
    "model", "method", "settings", "rows x tokens", "forecast GB", "measured GB", "forecast/measured", "tokens per CPU s", "tokens per s",
)  # fmt: skip
Json = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tiny", action="store_true", help="tiny models of the same families: to see that it works")
    parser.add_argument("--models", default="", help="comma-separated short names (codetune/models/published.py), or llama-109m")
    parser.add_argument("--tokens", type=int, default=512, help="per row (default 512)")
    parser.add_argument("--rows", type=int, default=2, help="per pass (default 2)")
    parser.add_argument("--write-docs", action="store_true", help="measure nothing: write docs/memory.md from forecasts and from --out")
    parts.add_arguments(parser, "runs/bench-memory.json")


def run(options: argparse.Namespace) -> None:
    """Measure what the file does not have yet, and print the table. Raises UserError for options that cannot work."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from bench import memory_page, memory_parts  # here, so that listing comes without torch
    from codetune.models.machine import hardware, versions

    out = options.out or Path("runs") / f"bench-memory{'-tiny' if options.tiny else ''}.json"
    if options.write_docs:
        memory_page.write(out)
        return
    models = [name.strip() for name in options.models.split(",") if name.strip()] or memory_parts.CPU_MODELS
    wanted = memory_parts.cpu_parts(models, memory_parts.METHODS, options.rows, options.tokens, options.tiny)
    every = [part for one in wanted for part in (one.forecast_part(gpu=False), one.part("memory", "cpu"))]
    todo = parts.chosen(every, options.only)
    fresh = {"benchmark": "memory", "device": "CPU", "tiny": options.tiny, "machine": hardware(), "versions": versions()}
    record = parts.record_at(out, fresh, measuring=True)
    ours = Host(Path(sys.executable), ())  # resident memory: nothing that another process has imported may be in it
    left = parts.measure(todo, record, out, {"ours": ours}, options, told)
    print(report(record, [part.name for part in todo if part.on_device]))
    if left:
        print(f"\n{parts.remaining(left)}")


def told(part: parts.Part, kept: Json) -> str:
    """A part's outcome in few words."""
    measured = kept["measured"]
    return f"{measured['peak'] / 1e9:.2f} GB" if part.on_device else f"{measured['training'] / 1e9:.2f} GB forecast"


def report(record: Json, names: list[str]) -> str:
    """The table of these parts, and what it says."""
    lines = [
        f"Device: {record['machine']['cpu']}; torch {record['versions']['torch']}, transformers {record['versions']['transformers']}. "
        "Random weights, two steps, rows of one document, the longest that fits.",
        "`measured` was measured here, each in a process of its own; `forecast` was computed from the config alone. "
        "Peaks are of the steps, without loading and without the reload check.",
        "",
        f"| {' | '.join(HEAD)} |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(_row(record, name) for name in names if name in record["parts"])])


def _row(record: Json, name: str) -> str:
    from bench.memory_parts import forecast_of

    part, forecast = record["parts"][name], forecast_of(record, name)
    head = [("tiny " if part["tiny"] else "") + part["model"], part["method"], part["settings"], f"{part['rows']} x {part['tokens']}"]
    head.append("-" if forecast is None else f"{forecast / 1e9:.2f}")
    if "measured" not in part:
        return f"| {' | '.join([*head, part['failed'], '-', '-', '-'])} |"
    found = part["measured"]
    cells = [f"{found['peak'] / 1e9:.2f}", "-" if forecast is None else f"{forecast / found['peak']:.3f}"]
    cells += [f"{found['tokens'] / found[unit]:,.0f}" for unit in ("cpu_seconds", "seconds")]
    return f"| {' | '.join([*head, *cells])} |"


def published_gb(model: str, method: str) -> str:
    """Of the published table, or "-"."""
    if model not in PUBLISHED_GB or method not in PUBLISHED_METHODS:
        return "-"
    value = PUBLISHED_GB[model][PUBLISHED_METHODS.index(method)]
    return "-" if value is None else f"{value:.2f}"
