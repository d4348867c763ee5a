"""Near duplicates against datasketch: files per CPU second from text to pairs, and how right the pairs are.

    python -m bench duplicates [--files 4000] [--sample 2000] [--copies 900] [--threshold 0.7] [--repeats 3] [--out results.json]

Files are Python files of the standard library and of site-packages of the interpreter that runs this. Every measurement is a process of
its own, in turns; minima are compared. All are given the texts in memory and search the same shingles, sets of five words. The truth is
the exact Jaccard similarity of all pairs of a sample, with copies planted on both sides of the threshold (`bench/similar_files.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environment, results
from bench.environment import say
from bench.similar_files import exact_pairs, pair_f1, python_files, read_texts, with_copies
from bench.turns import measured
from codetune.errors import UserError

WHAT = "Near duplicates against datasketch: files per CPU second, and pair F1 against exact Jaccard."
HOW_LONG = "About three minutes."
OURS = "codetune"
LEAST_F1 = 0.99  # the goal holds for right pairs alone
SYSTEMS = {OURS: "", "datasketch": "sha1", "datasketch with xxhash": "xxhash", "rensa": "rensa"}
Measured = dict[str, list[dict[str, Any]]]  # system -> repeats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--files", type=int, default=4000, help="files to search for the speed, drawn at random; 0 takes all")
    parser.add_argument("--sample", type=int, default=2000, help="files to compare all with all")
    parser.add_argument("--copies", type=int, default=900, help="copies with words replaced that are planted among these")
    parser.add_argument("--threshold", type=float, default=0.7, help="Jaccard similarity of near duplicates")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system; the fastest counts")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the tables, write the JSON. Raises UserError for options that cannot work."""
    files = python_files()
    if not (0 <= options.files <= len(files) and 10 <= options.sample <= len(files) and options.repeats >= 1 and options.copies >= 0):
        raise UserError(
            f"--files {options.files} --sample {options.sample} --copies {options.copies} --repeats {options.repeats}: "
            f"expected 0 to {len(files)} files, a sample of 10 to {len(files)}, 0 copies or more and 1 repeat or more"
        )
    if not 0 < options.threshold < 1:
        raise UserError(f"--threshold {options.threshold}: expected a number between 0 and 1")
    python = environment.peers_python("peers-data")
    loads = [environment.load_average()]
    texts = read_texts(files, options.files or len(files))
    found = measure(texts, "speed", options.threshold, python, options.repeats)
    loads.append(environment.load_average())
    say("comparing all pairs of the sample")
    sample = with_copies(read_texts(files, options.sample), options.copies)
    truth = exact_pairs(sample, options.threshold)
    labelled = measure(sample, "pairs", options.threshold, python, 1)
    record = make_record(options.threshold, texts, found, (len(sample), truth), labelled)
    record["load"] = loads
    print(report(record))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def measure(texts: list[str], what: str, threshold: float, peers: Path, repeats: int) -> Measured:
    """All systems in turns on the same texts."""
    found: Measured = {name: [] for name in SYSTEMS}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "texts.json"
        path.write_text(json.dumps(texts))
        for repeat in range(repeats):
            for name, variant in SYSTEMS.items():
                module, python = ("bench.peer_datasketch", peers) if variant else ("bench.ours_duplicates", Path(sys.executable))
                found[name].append(measured(python, module, str(path), what, str(threshold), *[variant] * bool(variant)))
            say(f"{what}, run {repeat + 1} of {repeats} done")
    return found


def make_record(
    threshold: float, texts: Sequence[str], found: Measured, sample: tuple[int, set[tuple[int, int]]], labelled: Measured
) -> dict[str, Any]:
    """Everything measured. A peer's index gives candidates: they are judged as they are, and with their estimates at the threshold."""
    fastest = {name: min(runs, key=lambda run: float(run["cpu_seconds"])) for name, runs in found.items()}
    speeds = {name: len(texts) / each["cpu_seconds"] for name, each in fastest.items()}
    found_pairs = {name: runs[0]["pairs"] for name, runs in labelled.items()}
    found_pairs |= {f"{name}, estimate at the threshold": runs[0]["kept"] for name, runs in labelled.items() if name != OURS}
    accuracy = {name: pair_f1({(left, right) for left, right in pairs}, sample[1]) for name, pairs in found_pairs.items()}
    return {
        "benchmark": "duplicates", "goal": "G12", "rows": [_row(name, speeds, accuracy) for name in speeds if name != OURS],
        "threshold": threshold, "files": len(texts),
        "megabytes": sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) / 1e6,
        "machine": environment.machine(), "versions": {name: each["versions"] for name, each in fastest.items()},
        "files_per_cpu_s": speeds, "codetune_is_faster_by": {name: speeds[OURS] / speed for name, speed in speeds.items() if name != OURS},
        "num_pairs": {name: each["num_pairs"] for name, each in fastest.items()},
        "steps": {name: each["steps"] for name, each in fastest.items()}, "deciding_cpu_s": fastest[OURS]["deciding"],
        "cpu_seconds": {name: [run["cpu_seconds"] for run in runs] for name, runs in found.items()},
        "sample": sample[0], "sample_pairs": len(sample[1]),
        "accuracy": accuracy,
    }  # fmt: skip


def _row(name: str, speeds: dict[str, float], accuracy: dict[str, dict[str, float]]) -> dict[str, Any]:
    same = f"F1 against exact similarity: codetune {accuracy[OURS]['f1']:.4f}, {name} {accuracy[name]['f1']:.4f}"
    aimed = ("G12", 0) if name == "datasketch" and accuracy[OURS]["f1"] >= LEAST_F1 else None
    return results.compared("near duplicates", name, speeds[OURS], speeds[name], "files per CPU s", same, aimed)


def report(record: dict[str, Any]) -> str:
    """The two tables with what is needed to read them."""
    machine, ratios = record["machine"], record["codetune_is_faster_by"]
    speed_rows = [
        f"| {name} | {speed:,.0f} | {f'{ratios[name]:.1f}x' if name in ratios else ''} | {record['num_pairs'][name]:,} | "
        + ", ".join(f"{step} {seconds:.2f}" for step, seconds in record["steps"][name].items()) + " |"
        for name, speed in record["files_per_cpu_s"].items()
    ]  # fmt: skip
    accuracy_rows = [
        f"| {name} | {each['precision']:.4f} | {each['recall']:.4f} | {each['f1']:.4f} |" for name, each in record["accuracy"].items()
    ]
    versions = dict(sorted({pair for each in record["versions"].values() for pair in each.items()}))
    return f"""\
{record["files"]:,} Python files, {record["megabytes"]:.1f} MB; near duplicates from a similarity of {record["threshold"]} on.
{machine["processor"]}, {machine["cores"]} cores, one thread; load {", ".join(f"{load:.1f}" for load in record["load"])}; \
{", ".join(f"{name} {version}" for name, version in versions.items())}.

| | files per CPU s | codetune is faster by | pairs | CPU s |
| --- | ---: | ---: | ---: | --- |
{chr(10).join(speed_rows)}

codetune's pairs are verified; deciding which files go, in place of listing all pairs, takes it {record["deciding_cpu_s"]:.2f} CPU s.
Against exact similarity, {record["sample_pairs"]:,} pairs among {record["sample"]:,} texts:

| | precision | recall | F1 |
| --- | ---: | ---: | ---: |
{chr(10).join(accuracy_rows)}"""
