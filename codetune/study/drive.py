"""Run a study: its cells one after the other, each in a process of its own, then the report. Finished cells are found, not repeated."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.config import StudyRecipe
from codetune.data.benchmarks import load as load_benchmark
from codetune.errors import UserError
from codetune.runs import locked, write_json
from codetune.study.cells import write_problems
from codetune.study.plan import RESULT, CellConfig, limited, plan_cells, unfinished
from codetune.study.report import Report, write_report

LOG = "log.txt"


@dataclass(frozen=True, slots=True)
class CellProgress:
    """Where a running study stands: which cell of how many, and how far its present stage is."""

    cell: CellConfig
    number: int
    cells: int
    stage: str = "starting"
    done: int = 0
    total: int = 0
    note: str = ""


def run_study(recipe: StudyRecipe, report: Callable[[CellProgress], None]) -> Report:
    """Every cell that is not done yet, then the report. Killed at any moment, it goes on where it was.

    Raises UserError for what cannot work, and, when all other cells are done, for cells that failed.
    """
    cells = plan_cells(recipe)
    with locked(recipe.folder):
        write_json(recipe.folder / "study.json", recipe.model_dump(mode="json") | {"cells": [cell.folder.name for cell in cells]})
        for name in recipe.benchmarks:
            write_problems(recipe.folder, name, limited(load_benchmark(name), recipe.max_problems))
        waiting = unfinished(cells, [read_result(cell) for cell in cells])
        failures = []
        for number, cell in enumerate(cells, start=1):
            if cell in waiting:
                try:
                    _run_cell(cell, CellProgress(cell, number, len(cells)), report)
                except CellError as error:
                    failures.append(str(error))
        if failures and len(failures) == len(waiting):
            raise UserError("; ".join(failures))
        written = write_report(recipe.folder)
    if failures:
        raise UserError(f"{len(failures)} of {len(cells)} cells failed ({'; '.join(failures)}); the report has the others: {written.html}")
    return written


def read_result(cell: CellConfig) -> dict[str, Any] | None:
    """A cell's result, None where it has none that can be read."""
    try:
        found = json.loads((cell.folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class CellError(Exception):
    """A cell ended without a result: one line that says which, why, and where the log is."""


def _run_cell(cell: CellConfig, start: CellProgress, report: Callable[[CellProgress], None]) -> None:
    """One cell in a child process, which dies with this one. Its stderr is kept as log.txt."""
    report(start)
    config = cell.folder / "cell.json"
    write_json(config, cell.model_dump(mode="json"))
    error = ""
    with (cell.folder / LOG).open("a") as log:
        command = [sys.executable, "-W", "ignore", "-m", "codetune.study.run", str(config)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        try:
            assert child.stdout is not None
            for line in child.stdout:
                row = _parse(line)
                error = row.pop("error", error)
                if row:
                    report(CellProgress(cell, start.number, start.cells, **row))
            code = child.wait()
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)  # once: its session is its own, so the terminal did not tell it; it saves a checkpoint
            child.wait(timeout=60)
            raise
    if code == 2 and error:
        raise UserError(f"{cell.row}: {error}")
    if code == 130:
        raise KeyboardInterrupt
    if code:
        last = _last_line(cell.folder / LOG)
        raise CellError(f"{cell.row} (seed {cell.seed}) ended with exit code {code}: {last}; see {cell.folder / LOG}")


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
