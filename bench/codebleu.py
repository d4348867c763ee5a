"""CodeBLEU against the codebleu package on pairs from CoNaLa: the same values, and how many pairs per CPU second.

    python -m bench codebleu [--data conala-train.json] [--pairs 1000] [--repeats 5] [--seeds 16] [--out results.json]

Every measurement is a process of its own, with another PYTHONHASHSEED each time, in turns (codetune, codebleu, codetune, ...); minima
are compared. Each reference is in two pairs, as references come back in use. Before it is timed each side scores one pair, so that
neither imports nor loads a grammar for the first time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.environment import say
from bench.parity import EQUAL, counted, make_pairs, reason
from bench.turns import measured
from codetune.data import conala
from codetune.data.files import find_data
from codetune.errors import UserError

WHAT = "CodeBLEU against the codebleu package: the same values, and pairs per CPU second."
HOW_LONG = "About a minute."
LEVELS = {"each": "each pair scored", "corpus": "one score of the corpus"}
NOT_KEPT = ("exceptions",)
Measurements = dict[tuple[str, str], list[dict[str, Any]]]  # (system, level) -> repeats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=None, help="conala-train.json; default: from the CODETUNE_DATA folder")
    parser.add_argument("--pairs", type=int, default=1000, help="half neighbours in the file, half damaged copies")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each system, each with another hash seed; the fastest counts")
    parser.add_argument("--seeds", type=int, default=16, help="hash seeds under which codebleu's values are taken, repeats included")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print both tables, write the JSON. Raises UserError for options that cannot work."""
    snippets = [problem.reference for problem in conala.load_train(find_data(conala.TRAIN_FILE, options.data))]
    if not 2 <= options.pairs < 2 * len(snippets) or options.repeats < 1:
        raise UserError(
            f"--pairs {options.pairs} --repeats {options.repeats}: expected 2 to {2 * len(snippets) - 1} pairs and 1 repeat or more"
        )
    pairs = make_pairs(snippets, options.pairs)
    python = environment.peers_python("peers-codebleu")
    load_before = environment.load_average()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "pairs.json"
        path.write_text(json.dumps(pairs))
        found = measure(path, python, options.repeats)
        old_grammar = measured(python, "bench.ours_codebleu", str(path), "each")
        more_seeds = [
            measured(python, "bench.peer_codebleu", str(path), "each", hash_seed=seed) for seed in range(options.repeats, options.seeds)
        ]
    peer_rows = zip(*(repeat["rows"] for repeat in found["codebleu", "each"] + more_seeds), strict=True)
    triples = zip(found["codetune", "each"][0]["rows"], peer_rows, old_grammar["rows"], strict=True)
    reasons = [reason(ours, peer, ours_there) for ours, peer, ours_there in triples]
    seeds = max(options.seeds, options.repeats)
    record = make_record(pairs, reasons, found, seeds, (load_before, environment.load_average()))
    print(report(record))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def measure(pairs: Path, peers: Path, repeats: int) -> Measurements:
    """All systems at both levels in turns; every repeat has a hash seed of its own."""
    systems = {"codetune": ("bench.ours_codebleu", Path(sys.executable)), "codebleu": ("bench.peer_codebleu", peers)}
    found: Measurements = {(name, level): [] for level in LEVELS for name in systems}
    for seed in range(repeats):
        for name, level in found:
            module, python = systems[name]
            found[name, level].append(measured(python, module, str(pairs), level, hash_seed=seed))
        say(f"run {seed + 1} of {repeats} done")
    return found


def make_record(
    pairs: list[tuple[str, str]], reasons: list[str], found: Measurements, seeds: int, loads: tuple[float, float]
) -> dict[str, Any]:
    """Everything measured, with the pairs that are exceptions."""
    speeds = {f"{name}, {level}": len(pairs) / min(run["cpu_seconds"] for run in runs) for (name, level), runs in found.items()}
    return {
        "benchmark": "codebleu", "goal": "G10", "pairs": len(pairs), "machine": environment.machine(), "load": list(loads),
        "rows": [_row(level, speeds, counted(reasons)) for level in LEVELS],
        "versions": {name: found[name, "each"][0]["versions"] for name in ("codetune", "codebleu")},
        "hash_seeds": seeds, "reasons": counted(reasons), "pairs_per_cpu_s": speeds,
        "codetune_is_faster_by": {level: speeds[f"codetune, {level}"] / speeds[f"codebleu, {level}"] for level in LEVELS},
        "cpu_seconds": {f"{name}, {level}": [run["cpu_seconds"] for run in runs] for (name, level), runs in found.items()},
        "exceptions": [{"pair": pair, "reason": why} for pair, why in zip(pairs, reasons, strict=True) if why != EQUAL],
    }  # fmt: skip


def _row(level: str, speeds: dict[str, float], reasons: dict[str, int]) -> dict[str, Any]:
    same = ", ".join(f"{count} {why}" for why, count in reasons.items())
    aimed = ("G10", 0) if level == "each" else None
    both = speeds[f"codetune, {level}"], speeds[f"codebleu, {level}"]
    return results.compared(LEVELS[level], "codebleu 0.7.0", *both, "pairs per CPU s", same, aimed)


def report(record: dict[str, Any]) -> str:
    """The two tables with what is needed to read them."""
    speeds, ratios, machine = record["pairs_per_cpu_s"], record["codetune_is_faster_by"], record["machine"]
    rows = [
        f"| {name} | " + " | ".join(f"{speeds[f'{name}, {level}']:,.0f}" for level in LEVELS) + " |" for name in ("codetune", "codebleu")
    ]
    reasons = "\n".join(f"| {count} | {why} |" for why, count in record["reasons"].items())
    versions = {name: ", ".join(f"{package} {version}" for package, version in found.items()) for name, found in record["versions"].items()}
    return f"""\
{record["pairs"]} pairs, {record["hash_seeds"]} hash seeds; codetune on {versions["codetune"]}; {versions["codebleu"]}.
{machine["processor"]}, {machine["cores"]} cores; load {record["load"][0]:.1f} before and {record["load"][1]:.1f} after.

| pairs | total and all four parts to 1e-12 |
| ---: | --- |
{reasons}

| pairs per CPU s | each pair scored | one score of the corpus |
| --- | ---: | ---: |
{rows[0]}
{rows[1]}
| codetune is faster by | {ratios["each"]:.1f}x | {ratios["corpus"]:.1f}x |"""
