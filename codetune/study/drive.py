"""Run a study: its cells, each in a process of its own, then the report. Finished cells are found, not repeated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codetune.config import StudyRecipe
from codetune.data.benchmarks import load as load_benchmark
from codetune.errors import TERMINATED, Terminated, UserError
from codetune.runs import locked, write_json
from codetune.study.cells import write_problems
from codetune.study.plan import RESULT, CellConfig, limited, plan_cells, unfinished
from codetune.study.report import Report, write_report

LOG = "log.txt"
DONE = "done"


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

    `cells_at_once` run at a time, each with its share of the cores.
    Raises UserError for what cannot work, and, when all other cells are done, for cells that failed.
    """
    cells = plan_cells(recipe)
    with locked(recipe.folder):
        planned = {"cells": [cell.folder.name for cell in cells]}
        write_json(recipe.folder / "study.json", recipe.model_dump(mode="json") | planned)
        for name in recipe.benchmarks:
            write_problems(recipe.folder, name, limited(load_benchmark(name), recipe.max_problems))
        waiting = unfinished(cells, [read_result(cell) for cell in cells])
        starts = [CellProgress(cell, number, len(cells)) for number, cell in enumerate(cells, start=1) if cell in waiting]
        running = Running(recipe.cells_at_once, report)
        failures = running.all(starts)
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


class Running:
    """Cells in child processes, which die with this one; a few at once, each with its share of the cores."""

    def __init__(self, at_once: int, report: Callable[[CellProgress], None]) -> None:
        self.at_once, self._report = at_once, report
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[str]] = set()

    def all(self, starts: Sequence[CellProgress]) -> list[str]:
        """Run these cells to their end; what went wrong with those that failed. A mistake of the user's ends all of them."""
        failures = []
        at_once = max(1, min(self.at_once, len(starts)))
        threads = max(1, len(os.sched_getaffinity(0)) // at_once)
        pool = ThreadPoolExecutor(at_once)
        try:
            for future in as_completed([pool.submit(self._one, start, threads) for start in starts]):
                try:
                    future.result()
                except CellError as error:
                    failures.append(str(error))
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            self._end(signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)
            raise
        finally:
            pool.shutdown()
        return failures

    def _one(self, start: CellProgress, threads: int) -> None:
        """One cell in a child process. Its stderr is kept as log.txt."""
        cell, error = start.cell, ""
        self._tell(start)
        config = cell.folder / "cell.json"
        write_json(config, cell.model_dump(mode="json"))
        command = [sys.executable, "-W", "ignore", "-m", "codetune.study.run", str(config)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with (cell.folder / LOG).open("a") as log:
            # In a session of its own: the terminal's Ctrl-C reaches this process alone, which hands it on once.
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True, env=environment)
            self._children.add(child)
            assert child.stdout is not None
            for line in child.stdout:
                row = _parse(line)
                error = row.pop("error", error)
                if row:
                    self._tell(CellProgress(cell, start.number, start.cells, **row))
            code = child.wait()
            self._children.discard(child)
        self._tell(replace(start, stage=DONE))
        if code == 2 and error:
            raise UserError(f"{cell.row}: {error}")
        if code == 130:
            raise KeyboardInterrupt
        if code == TERMINATED:
            raise Terminated
        if code:
            last = _last_line(cell.folder / LOG)
            raise CellError(f"{cell.row} (seed {cell.seed}) ended with exit code {code}: {last}; see {cell.folder / LOG}")

    def _tell(self, progress: CellProgress) -> None:
        with self._lock:
            self._report(progress)

    def _end(self, how: signal.Signals) -> None:
        """Ctrl-C or SIGTERM for every child: it saves its checkpoint and ends."""
        for child in list(self._children):
            child.send_signal(how)


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"
