"""One measurement of evalplus. Runs in the peers' environment, started by bench/execution.py.

bench/.venv-peers-execution/bin/python -m bench.peer_evalplus rows.json humaneval|humanevalplus
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

from evalplus.eval import PASS, untrusted_check

from bench.peer_humaneval import cpu_seconds


def trusted(row: dict[str, Any], inputs: list[Any]) -> tuple[list[Any], list[float]]:
    """What the reference answers, and how long it takes for each input, as evalplus finds it out."""
    names: dict[str, Any] = {}
    exec(row["prompt"] + row["canonical_solution"], names)
    outputs, times = [], []
    for each in copy.deepcopy(inputs):
        started = time.time()
        outputs.append(names[row["entry_point"]](*each))
        times.append(time.time() - started)
    return outputs, times


def main() -> None:
    rows = json.loads(Path(sys.argv[1]).read_text())
    jobs = []
    for row in rows:
        inputs = row["base_input"] + (row["plus_input"] if sys.argv[2] == "humanevalplus" else [])
        jobs.append((row, inputs, *trusted(row, inputs)))
    started = cpu_seconds()
    passed = 0
    for row, inputs, expected, times in jobs:
        code = row["prompt"] + row["canonical_solution"]
        verdict, _ = untrusted_check("humaneval", code, inputs, row["entry_point"], expected, row["atol"], times)
        passed += verdict == PASS
    seconds = cpu_seconds() - started
    version = importlib.metadata.version("evalplus")
    print(json.dumps({"cpu_seconds": seconds, "programs": len(rows), "passed": passed, "version": version}))


if __name__ == "__main__":
    main()
