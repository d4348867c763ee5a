"""The forecast of one part of the memory benchmarks, computed from the config alone, on any machine.

    python -m bench.host --once bench.memory_forecast job.json        as bench/parts.py runs it
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from bench.memory_parts import MemoryPart


def main(path: Path) -> None:
    """Print the forecast's bytes by what they are for, with the peak of the steps."""
    job = json.loads(path.read_text(encoding="utf-8"))
    found = MemoryPart(**job["part"]).forecast(job["gpu"])
    print(json.dumps(dataclasses.asdict(found) | {"training": found.training}))
