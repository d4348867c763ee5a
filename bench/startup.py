"""How long the shell waits: `codetune --help`, `codetune score`, and the first training step of the shipped model.

    python -m bench startup [--repeats 5] [--profile] [--out startup.json]

The least of so many runs counts, in CPU seconds and by wall clock; the first of each, which fills the disk cache, counts for nothing.
`--profile` adds what was imported by `-X importtime`, by package.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from bench import environment
from bench.environment import say
from bench.results import compared, record, write
from bench.turns import CHECKOUT, TIMEOUT_S, error_line
from codetune.errors import UserError

WHAT = "Start-up: --help, score, and the first training step from the shell."
HOW_LONG = "About two minutes on an idle machine."
MUST_S = {"codetune --help": 0.3, "codetune score": 0.5, "the first training step": 8.0}
Times = tuple[float, float]  # wall, CPU


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the fastest counts")
    parser.add_argument("--profile", action="store_true", help="also what imports cost, by package")
    parser.add_argument("--out", type=Path, default=None, help="write the record here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print, write. Raises UserError where a command fails."""
    if options.repeats < 1:
        raise UserError(f"--repeats {options.repeats}: at least 1")
    load_before = environment.load_average()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples, problems = _little_to_score(folder)
        scoring = ["score", str(samples), "--benchmark", str(problems), "--json"]
        measured = {
            "codetune --help": fastest(options.repeats, lambda: whole(["--help"], folder)),
            "codetune score": fastest(options.repeats, lambda: whole(scoring, folder)),
            "the first training step": fastest(options.repeats, lambda: first_step(folder)),
        }
        imports = {name: imported(arguments) for name, arguments in _IMPORTS.items()} if options.profile else {}
    rows = [compared(name, f"{MUST_S[name]:g} s asked for", cpu, None, "CPU s", "no peer") for name, (_, cpu) in measured.items()]
    report = table(measured, imports)
    print(report)
    more = {"seconds": {name: {"wall": wall, "cpu": cpu, "must": MUST_S[name]} for name, (wall, cpu) in measured.items()}}
    found = record("startup", rows, [load_before, environment.load_average()], {}, imports=imports, report=report, **more)
    if options.out:
        write(options.out, found)


_IMPORTS = {
    "codetune --help": ["-m", "codetune.cli", "--help"], "codetune score": ["-m", "codetune.cli", "score", "--help"],
    "training": ["-c", "from codetune.imports import without_collecting as quickly\nwith quickly():\n    import codetune.train.finetune"],
}  # fmt: skip


def fastest(repeats: int, once: Callable[[], Times]) -> Times:
    """The least wall clock and the least CPU time, after one run that warms the disk cache."""
    once()
    found = [once() for _ in range(repeats)]
    say(f"{min(wall for wall, _ in found):.2f} s, {min(cpu for _, cpu in found):.2f} CPU s")
    return min(wall for wall, _ in found), min(cpu for _, cpu in found)


def whole(arguments: list[str], folder: Path) -> Times:
    """A command to its end; CPU seconds of it and of all processes that it waited for."""
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(_codetune(arguments), cwd=CHECKOUT, env=_environment(folder), capture_output=True, text=True, timeout=TIMEOUT_S)
    took, after = time.perf_counter() - started, os.times()
    if done.returncode:
        raise UserError(f"codetune {arguments[0]} failed: {error_line(done.stderr, done.returncode)}")
    return took, after.children_user + after.children_system - before.children_user - before.children_system


def first_step(folder: Path) -> Times:
    """`codetune train` of the shipped recipe until the first row of its metrics is there."""
    out = Path(tempfile.mkdtemp(dir=folder))
    started = time.perf_counter()
    child = subprocess.Popen(
        _codetune(["train", str(CHECKOUT / "recipes" / "train-lora.yaml"), "--out", str(out)]), cwd=CHECKOUT, env=_environment(folder),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not (metrics := out / "metrics.jsonl").exists() or not metrics.read_text():
            if child.poll() is not None or time.perf_counter() - started > TIMEOUT_S:
                raise UserError("codetune train ended before its first step")
            time.sleep(0.01)
        took, used = time.perf_counter() - started, psutil.Process(child.pid).cpu_times()
        return took, used.user + used.system + used.children_user + used.children_system
    finally:
        child.kill()
        child.wait()


def imported(arguments: list[str]) -> dict[str, float]:
    """Milliseconds of a command's imports by top-level package, each package's own modules alone; the ten dearest, and all."""
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=TIMEOUT_S)
    cost = Counter[str]()
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and len(parts) == 3 and parts[0].strip().isdigit():
            cost[parts[2].strip().split(".")[0]] += int(parts[0])
    return {name: round(spent / 1000, 1) for name, spent in [("all", cost.total()), *cost.most_common(10)]}


def table(measured: dict[str, Times], imports: dict[str, dict[str, float]]) -> str:
    """What is printed."""
    lines = ["| | wall clock | CPU | asked for |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {wall:.2f} s | {cpu:.2f} s | under {MUST_S[name]:g} s |" for name, (wall, cpu) in measured.items()]
    for name, cost in imports.items():
        lines += ["", f"imports of {name} in ms: " + ", ".join(f"{package} {spent:g}" for package, spent in cost.items())]
    return "\n".join(lines)


def _codetune(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "codetune.cli", *arguments]


def _environment(folder: Path) -> dict[str, str]:
    """One thread, the peers' limits, and a cache of its own that stays between the repeats, as a user's does."""
    return {**environment.limited(1), "CODETUNE_CACHE": str(folder / "cache")}


def _little_to_score(folder: Path) -> tuple[Path, Path]:
    """A benchmark of one problem and a sample of it."""
    problem: dict[str, Any] = {"task_id": "0", "instruction": "Double a number.", "reference": "def f(a):\n    return 2 * a\n"}
    problems, samples = folder / "problems.jsonl", folder / "samples.jsonl"
    problems.write_text(json.dumps(problem | {"tests": ["assert f(2) == 4"]}))
    samples.write_text(json.dumps({"task_id": "0", "solution": "def f(a):\n    return a + a\n"}))
    return samples, problems
