"""Packing against TRL: rows used and documents per CPU second on real Python, at two row lengths.

    python -m bench packing [--tokens 10000000] [--repeats 3] [--out results.json]

Every measurement is a process of its own with one thread, in turns; minima are compared. All are given the same token ids as one Arrow
or numpy array with offsets, and cut documents that are longer than a row.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

import codetune
from bench import environment, results
from bench.environment import say
from bench.turns import measured
from codetune.errors import UserError

WHAT = "Packing against TRL's bfd_split: rows used, and documents per CPU second."
HOW_LONG = "About four minutes."
ROW_TOKENS = (1024, 2048)
OURS, OURS_GATHERED = "codetune", "codetune, tokens written too"
TRL_FUNCTION, TRL_WHOLE, TRL_BATCHES = "TRL, packing function alone", "TRL pack_dataset, whole set", "TRL pack_dataset, defaults"
SYSTEMS = {
    OURS: ("bench.ours_packing", "rows"),
    OURS_GATHERED: ("bench.ours_packing", "gathered"),
    TRL_FUNCTION: ("bench.peer_trl_packing", "function"),
    TRL_WHOLE: ("bench.peer_trl_packing", "whole"),
    TRL_BATCHES: ("bench.peer_trl_packing", "defaults"),
}
Measurements = dict[tuple[int, str], list[dict[str, Any]]]  # (tokens of a row, system) -> repeats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, default=10_000_000, help="at least so many, of the Python that is installed here")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system; the fastest counts")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON. Raises UserError for options that cannot work."""
    if min(options.tokens, options.repeats) < 1:
        raise UserError(f"--tokens {options.tokens} --repeats {options.repeats}: both must be at least 1")
    python, load_before = environment.peers_python(), environment.load_average()
    with tempfile.TemporaryDirectory() as temporary:
        material = make_material(Path(temporary), options.tokens)
        found: Measurements = {(row_tokens, name): [] for row_tokens in ROW_TOKENS for name in SYSTEMS}
        for repeat in range(options.repeats):
            for row_tokens, name in found:
                module, how = SYSTEMS[name]
                interpreter = python if "peer" in module else Path(sys.executable)
                found[row_tokens, name].append(measured(interpreter, module, temporary, str(row_tokens), how))
            say(f"run {repeat + 1} of {options.repeats} done")
    record = make_record(material, found, (load_before, environment.load_average()))
    print(report(record))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def make_material(folder: Path, tokens: int) -> dict[str, int]:
    """Write `ids.npy` and `offsets.npy`: installed Python in the shipped tokenizer, of every other file its functions alone."""
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(codetune.__file__).parent / "assets" / "codetune-base" / "tokenizer.json"))
    ids, total = [np.zeros(0, np.int32)], 0
    for batch in _batches(documents(), 256):
        made = [np.array(encoding.ids, dtype=np.int32) for encoding in tokenizer.encode_batch(batch) if encoding.ids]
        ids, total = ids + made, total + sum(map(len, made))
        if total >= tokens:
            break
    if total < tokens:
        raise UserError(f"the Python that is installed here has {total} tokens: give --tokens {total} or less")
    np.save(folder / "ids.npy", np.concatenate(ids))
    np.save(folder / "offsets.npy", np.cumsum([len(one) for one in ids], dtype=np.int64))
    return {"documents": len(ids) - 1, "tokens": sum(map(len, ids)), "longest": max(map(len, ids))}


def documents() -> Iterator[str]:
    """The standard library and what is installed beside it, in an order by hash: whole files, and functions of other files."""
    folders = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "purelib")]
    paths = {str(path) for folder in folders for path in folder.rglob("*.py")}
    for digest, path in sorted((hashlib.sha256(path.encode()).hexdigest(), path) for path in paths):
        try:
            text = Path(path).read_text(encoding="utf-8")
            yield from functions(text) if int(digest, 16) % 2 else [text]
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue


def functions(text: str) -> list[str]:
    """The outermost functions and methods of a module, as they stand in its text."""
    lines, found = text.splitlines(keepends=True), []
    waiting = list(ast.parse(text).body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append("".join(lines[node.lineno - 1 : node.end_lineno]))
        elif isinstance(node, ast.ClassDef):
            waiting = node.body + waiting
    return found


def make_record(material: dict[str, int], found: Measurements, loads: tuple[float, float]) -> dict[str, Any]:
    """Everything measured; what each system does with the same tokens, and how much faster codetune is."""
    cells = []
    for (row_tokens, name), runs in found.items():
        seconds = min(run["cpu_seconds"] for run in runs)
        cells.append({
            "row_tokens": row_tokens, "system": name, "rows": runs[0]["rows"], "fewest_rows": -(-material["tokens"] // row_tokens),
            "fill": material["tokens"] / (runs[0]["rows"] * row_tokens), "tokens_lost": runs[0]["tokens_lost"],
            "documents_per_cpu_s": material["documents"] / seconds, "cpu_seconds": [run["cpu_seconds"] for run in runs],
        })  # fmt: skip
    speeds = {(cell["row_tokens"], cell["system"]): cell["documents_per_cpu_s"] for cell in cells}
    for cell in cells:
        if cell["system"] not in (OURS, OURS_GATHERED):
            own = [speeds[cell["row_tokens"], name] for name in (OURS, OURS_GATHERED)]
            cell["codetune_is_faster_by"], cell["codetune_writing_tokens_is_faster_by"] = (one / cell["documents_per_cpu_s"] for one in own)
    versions = {key: value for runs in found.values() for key, value in runs[0]["versions"].items()}
    rows = [_row(cell, cells) for cell in cells if "codetune_is_faster_by" in cell]
    head = {"benchmark": "packing", "goal": "G13", **material, "machine": environment.machine(), "load": list(loads)}
    return {**head, "versions": versions, "rows": rows, "cells": cells}


def _row(cell: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Against codetune with tokens written too, as TRL writes them."""
    ours = next(one for one in cells if (one["row_tokens"], one["system"]) == (cell["row_tokens"], OURS_GATHERED))
    lost = f"tokens lost {ours['tokens_lost']} and {cell['tokens_lost']}"
    same = f"{ours['rows']:,} and {cell['rows']:,} rows, {cell['fewest_rows']:,} at least; {lost}"
    full = ours["rows"] <= ours["fewest_rows"] + 1 and not ours["tokens_lost"]
    aimed = ("G13", 0) if cell["system"] == TRL_BATCHES and full else None
    speeds = ours["documents_per_cpu_s"], cell["documents_per_cpu_s"]
    return results.compared(f"rows of {cell['row_tokens']:,}", cell["system"], *speeds, "documents per CPU s", same, aimed)


def report(record: dict[str, Any]) -> str:
    """The table with what is needed to read it."""
    machine, versions = record["machine"], ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    rows = [
        f"| {cell['row_tokens']:,} | {cell['system']} | {cell['rows']:,} | {cell['fewest_rows']:,} | {100 * cell['fill']:.2f}% "
        f"| {cell['tokens_lost']} | {cell['documents_per_cpu_s']:,.0f} | {_faster(cell)} |"
        for cell in record["cells"]
    ]
    return f"""\
{record["documents"]:,} documents of {record["tokens"]:,} tokens, the longest of {record["longest"]:,}; 1 thread; {versions}.
{machine["processor"]}, {machine["cores"]} cores; load {record["load"][0]:.1f} before and {record["load"][1]:.1f} after.

| row | system | rows | fewest possible | fill | tokens lost | documents per CPU s | codetune is faster by (tokens written too) |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}"""


def _faster(cell: dict[str, Any]) -> str:
    if "codetune_is_faster_by" not in cell:
        return ""
    return f"{cell['codetune_is_faster_by']:.1f}x ({cell['codetune_writing_tokens_is_faster_by']:.1f}x)"


def _batches(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch
