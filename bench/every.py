"""Every goal that needs no GPU, one benchmark after the other, each kept; then docs/performance.md. This is `make bench`.

    python -m bench all [--only step,packing]

A benchmark that cannot be run here (its data is not there, a peer cannot be installed) is named in the end; the others are run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from bench.environment import load_average, say
from bench.goals import GOALS
from codetune.errors import UserError, nearest

WHAT = "Every goal that needs no GPU in turn, kept; then docs/performance.md is written."
HOW_LONG = "About an hour on an idle machine of two cores."
BEYOND_GOALS = ("startup", "quickstart", "scaling")  # for the page as well
IDLE = 0.5  # load average


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help="some of them, comma-separated")


def run(options: argparse.Namespace) -> None:
    """Each in a process of its own. Raises UserError where a name is none of them, or one has failed."""
    names = wanted(options.only)
    if load_average() > IDLE:
        say(f"this machine is busy (load {load_average():.1f}): take these figures for a trial")
    failed = []
    for number, name in enumerate(names, 1):
        say(f"{number}/{len(names)} python -m bench {name} --keep")
        if subprocess.run([sys.executable, "-m", "bench", name, "--keep"]).returncode:
            failed.append(name)
    if failed:
        raise UserError(f"not measured: {', '.join(failed)} (why stands above); the other figures are kept and in docs/performance.md")


def wanted(only: str) -> list[str]:
    """The benchmarks of goals on a CPU that are there, or those asked for."""
    from bench.__main__ import BENCHMARKS  # which lists this module, too

    names = [goal.benchmark for goal in GOALS if any(target.where == "CPU" for target in goal.targets)]
    names = [name for name in dict.fromkeys([*names, *BEYOND_GOALS]) if name in BENCHMARKS]
    asked = [name.strip() for name in only.split(",") if name.strip()]
    for name in asked:
        if name not in names:
            raise UserError(f"--only {name}: {nearest(name, names)}")
    return [name for name in names if name in asked or not asked]
