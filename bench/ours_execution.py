"""One measurement of codetune's sandbox. Run by bench/execution.py.

python -m bench.ours_execution rows.json humaneval|humanevalplus
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

from codetune.data import evalplus, humaneval
from codetune.records import Problem, Verdict
from codetune.sandbox import Sandbox


def problems_of(rows: list[object], test: str) -> tuple[Problem, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return humaneval.load(path) if test == "humaneval" else evalplus.load_humaneval(path)


def cpu_seconds() -> float:
    """Of this process, of the zygote, and of all that the zygote forked and saw end."""
    zygotes = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(times.user + times.system + times.children_user + times.children_system for times in zygotes)


def measure(problems: tuple[Problem, ...]) -> dict[str, object]:
    jobs = [(problem.reference_program, problem) for problem in problems]
    with Sandbox(workers=1, tier="T1", memory_mb=4096) as sandbox:
        # What the references answer is found out before the clock starts, as evalplus is given it.
        list(sandbox.check(jobs))
        started = cpu_seconds()
        results = list(sandbox.check(jobs))
        seconds = cpu_seconds() - started
    passed = sum(result.verdict is Verdict.PASSED for result in results)
    return {"cpu_seconds": seconds, "programs": len(jobs), "passed": passed, "version": importlib.metadata.version("codetune")}


if __name__ == "__main__":
    print(json.dumps(measure(problems_of(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]))))
