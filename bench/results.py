"""Records of what benchmarks measured: the rows that say how codetune stands, what produced them, and how both are kept and read.

A record is JSON: `benchmark`, `goal`, `machine`, `versions`, `load`, and `rows` of what was compared, besides whatever a benchmark adds.
`python -m bench NAME --keep` keeps one under docs/performance/, with the command, the time and what was printed; docs/performance.md is
made of what is there (bench/page.py).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from bench import environment
from bench.goals import goal
from codetune.errors import UserError
from codetune.runs import write_json

Json = dict[str, Any]
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "performance"
NEEDED = ("benchmark", "machine", "rows")
NEEDED_OF_A_ROW = ("what", "against", "ours", "peer", "ratio", "unit", "same")


def compared(
    what: str, against: str, ours: float | None, peer: float | None, unit: str, same: str, aimed: tuple[str, int] | None = None
) -> Json:
    """One row: what both sides reached, and how many times the peer's codetune's is (None where one of them has no figure).

    `aimed` is the goal and the number of its target that the row answers, whose must, aim and limit it then has. `same` says how it was
    checked that both did the same.
    """
    row: Json = {
        "what": what, "against": against, "ours": ours, "peer": peer, "ratio": None if ours is None or not peer else ours / peer,
        "unit": unit, "same": same, "must": None, "aim": None, "limit": None,
    }  # fmt: skip
    if aimed is not None:
        target = goal(aimed[0]).targets[aimed[1]]
        row |= {"goal": aimed[0], "must": target.must, "aim": target.aim, "limit": target.limit}
    return row


def record(benchmark: str, rows: list[Json], loads: list[float], versions: Json, **more: Any) -> Json:
    """A record of rows with this machine."""
    goals = list(dict.fromkeys(row["goal"] for row in rows if "goal" in row))
    head = {"benchmark": benchmark, "goal": ", ".join(goals), "machine": environment.machine(), "load": loads, "versions": versions}
    return {**head, "rows": rows, **more}


def write(path: Path, found: Json) -> None:
    """The record as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)


def keep(written: Path, name: str, command: str, report: str, left_out: tuple[str, ...] = (), folder: Path = FOLDER) -> Path:
    """Keep what a benchmark wrote as `<name>.json` of the folder, with the command, the day and what it printed.

    Raises UserError where it is no record: nothing that is there is then replaced.
    """
    found = checked(written, json.loads(written.read_text()))
    day = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    kept = {key: value for key, value in found.items() if key not in left_out} | {"command": command, "time": day, "report": report.strip()}
    path = folder / f"{name}.json"
    write(path, kept)
    return path


def read(folder: Path = FOLDER) -> list[Json]:
    """All records that are kept, by name. Raises UserError for a file that is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(checked(path, json.loads(path.read_text())))
        except ValueError as error:
            raise UserError(f"{path} is not JSON ({error}): measure it again with --keep, or delete it") from None
    return found


def checked(path: Path, found: Any) -> Json:
    """The record, if it is one."""
    missing = [key for key in NEEDED if not isinstance(found, dict) or key not in found]
    if not missing:
        missing = sorted({f"rows[].{key}" for row in found["rows"] for key in NEEDED_OF_A_ROW if key not in row})
    if missing:
        raise UserError(f"{path} is no benchmark's record: it has no {', '.join(missing)}; measure it again with --keep, or delete it")
    known: Json = found
    return known


def goal_of(found: Json, row: Json) -> str:
    """The goal that a row of a record answers."""
    return str(row.get("goal") or found.get("goal") or "")
