"""Peak memory of two training steps beside its forecast, method by method, on random weights of true shapes.

    python -m bench memory [--methods full,lora] [--out memory.json]
    python -m bench memory --gpu --out memory-gpu.json
    python -m bench memory --gpu --tiny

Each part is a process of its own and is written to --out at once; run it again to go on: what is there is not measured anew.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bench import environment
from bench.environment import say
from codetune.config import METHOD_NAMES
from codetune.errors import UserError, nearest
from codetune.runs import write_json

WHAT = "Peak memory of every method on random weights beside codetune's forecast; --gpu: full-size models on a GPU."
HOW_LONG = "About a minute a part on a CPU core, 64 parts; --gpu: under eight minutes a part, 150 parts, resumable; --tiny: seconds a part."
PUBLISHED_METHODS = ("full", "lora", "prefix_tuning", "prompt_tuning")  # LoRA of rank 16, 20 virtual tokens, rows of 1,024
PUBLISHED_GB: dict[str, tuple[float | None, float | None, float | None, float | None]] = {
    "gpt2": (7.15, 6.91, 5.85, 6.17), "gpt2-medium": (17.19, 16.49, 13.59, 14.37), "gpt2-large": (31.56, 29.82, 24.33, 25.83),
    "gpt2-xl": (52.85, 48.94, 39.72, 42.19), "codellama-7b": (50.23, 37.33, 22.91, 23.39), "mistral-7b": (54.98, 41.80, None, 26.52),
}  # fmt: skip
HEAD = (
    "model", "method", "settings", "rows x tokens", "forecast GB", "measured GB", "reserved GB", "forecast/measured", "published GB",
    "tokens per CPU s", "tokens per s",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gpu", action="store_true", help="full-size models on this machine's GPU, one row of 1,024 tokens")
    parser.add_argument("--tiny", action="store_true", help="tiny models of the same families, on whatever is here: to see that it works")
    parser.add_argument("--models", default="", help="comma-separated short names (codetune/models/published.py), or llama-109m")
    parser.add_argument("--methods", default="", help="comma-separated; default: all; with --gpu the four of the published table")
    parser.add_argument("--precisions", default="fp32,bf16", help="comma-separated; without --gpu")
    parser.add_argument("--tokens", type=int, default=0, help="per row; default 512, with --gpu 1,024")
    parser.add_argument("--rows", type=int, default=0, help="per pass; default 2, with --gpu 1")
    parser.add_argument("--again", action="store_true", help="measure anew what failed")
    parser.add_argument("--write-docs", action="store_true", help="measure nothing: write docs/memory.md from forecasts and from --out")
    parser.add_argument("--out", type=Path, default=None, help="results, JSON, written after each part; default runs/bench-memory.json")


def run(options: argparse.Namespace) -> None:
    """Measure what the file does not have yet, and print the table. Raises UserError for options that cannot work."""
    methods = _named(options.methods, METHOD_NAMES, "method")
    precisions = _named(options.precisions, ("fp32", "bf16", "bf16_weights"), "precision")
    if not options.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch  # here, so that listing and refusing come without it

    from bench import memory_page, memory_parts, memory_table

    out = options.out or Path("runs") / f"bench-memory{'-gpu' if options.gpu else ''}{'-tiny' if options.tiny else ''}.json"
    if options.write_docs:
        memory_page.write(out)
        return
    on_gpu = torch.cuda.is_available()
    if options.gpu and not on_gpu and not options.tiny:
        raise UserError("no GPU here: run --gpu where there is one; --gpu --tiny shows here that it works")
    models = _models(options.models) or (memory_parts.GPU_MODELS if options.gpu else memory_parts.CPU_MODELS)
    tokens, rows = options.tokens or (1024 if options.gpu else 512), options.rows or (1 if options.gpu else 2)
    if options.gpu:
        compared = [method for method in methods or PUBLISHED_METHODS if method in PUBLISHED_METHODS]
        others = [method for method in methods if method not in PUBLISHED_METHODS]
        parts = memory_table.side_by_side(models, compared, rows, tokens, options.tiny)
        parts += memory_parts.gpu_parts(models, others, rows, tokens, options.tiny)
        parts += memory_table.capped(models, tokens, options.tiny) if "lora" in compared else []
    else:
        parts = memory_parts.cpu_parts(models, methods or memory_parts.METHODS, precisions, rows, tokens, options.tiny)
    for part in parts:
        part.config()  # a model that is not known is refused before anything is measured
    record = _record(out, on_gpu)
    for number, part in enumerate(parts, 1):
        kept = record["parts"].get(part.key)
        if kept is not None and not (options.again and "failed" in kept):
            continue
        found = part.measured(on_gpu) | {"load": environment.load_average()}
        record["parts"][part.key] = found
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, record)
        say(f"{number}/{len(parts)} {part.key}: {_outcome(found)}")
    print(report(record, [part.key for part in parts]))
    if options.gpu:
        print(f"\n{memory_table.table(record, models, compared, rows, tokens, options.tiny)}")
        if not options.tiny:
            write_json(out, record | {"goal": "G6, G7", "rows": memory_table.goals(record, models, tokens, options.tiny)})


def _record(out: Path, on_gpu: bool) -> dict[str, Any]:
    """The file so far. Raises UserError where it is of another device."""
    from codetune.models.machine import hardware, versions

    fresh: dict[str, Any] = {"benchmark": "memory", "device": "GPU" if on_gpu else "CPU", "machine": hardware(), "versions": versions()}
    fresh["parts"] = {}
    if not out.exists():
        return fresh
    record: dict[str, Any] = json.loads(out.read_text())
    if record["device"] != fresh["device"] or record["machine"]["gpu"] != fresh["machine"]["gpu"]:
        raise UserError(f"{out} was measured on {record['device']} {record['machine']['gpu']}: choose another --out on this machine")
    return record


def _outcome(found: dict[str, Any]) -> str:
    if "measured" not in found:
        return str(found.get("refused") or found["failed"])
    if "forecast" not in found:
        return f"{found['measured']['peak'] / 1e9:.2f} GB measured"
    return f"{found['forecast'] / 1e9:.2f} GB forecast, {found['measured']['peak'] / 1e9:.2f} GB measured ({found['ratio']:.3f})"


def report(record: dict[str, Any], keys: list[str]) -> str:
    """The table of these parts, and what it says."""
    machine = record["machine"]
    lines = [
        f"Device: {machine['gpu'] if record['device'] == 'GPU' else machine['cpu']}; torch {record['versions']['torch']}, "
        f"transformers {record['versions']['transformers']}. Random weights, two steps, rows of one document, the longest that fits.",
        "`measured` and `reserved` were measured here, each in a process of its own; `forecast` was computed from the config alone; "
        "`published` is quoted, of rows of 1,024 and unknown batch. Peaks are of the steps, without loading and without the reload check.",
        "",
        f"| {' | '.join(HEAD)} |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *(_row(record["parts"][key]) for key in keys)])


def _row(part: dict[str, Any]) -> str:
    name = ("tiny " if part["tiny"] else "") + part["model"]
    head = [name, part["method"], part["settings"], f"{part['rows']} x {part['tokens']}"]
    published = "-" if part["tiny"] else published_gb(part["model"], part["method"])
    forecast = f"{part['forecast'] / 1e9:.2f}" if "forecast" in part else "-"
    if "measured" not in part:
        why = f"refused: {part['refused']}" if "refused" in part else f"failed: {part['failed']}"
        return f"| {' | '.join([*head, forecast, why, '-', '-', published, '-', '-'])} |"
    found = part["measured"]
    cells = [forecast, f"{found['peak'] / 1e9:.2f}", f"{found['reserved'] / 1e9:.2f}" if found["reserved"] else "-"]
    cells.append(f"{part['ratio']:.3f}" if "ratio" in part else "-")
    speeds = [f"{found['tokens'] / found['cpu_seconds']:,.0f}", f"{found['tokens'] / found['seconds']:,.0f}"]
    return f"| {' | '.join([*head, *cells, published, *speeds])} |"


def published_gb(model: str, method: str) -> str:
    """Of the published table, or "-"."""
    if model not in PUBLISHED_GB or method not in PUBLISHED_METHODS:
        return "-"
    value = PUBLISHED_GB[model][PUBLISHED_METHODS.index(method)]
    return "-" if value is None else f"{value:.2f}"


def _named(given: str, names: tuple[str, ...], kind: str) -> list[str]:
    found = [name.strip() for name in given.split(",") if name.strip()]
    for name in found:
        if name not in names:
            raise UserError(f"no {kind} {name!r}: {nearest(name, names)}")
    return found


def _models(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]
