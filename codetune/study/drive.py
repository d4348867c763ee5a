"""Run a study: its cells, each in a process of its own, then the report. Finished cells are found, not repeated."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol

from codetune.config import StudyRecipe
from codetune.errors import TERMINATED, Terminated, UserError
from codetune.models.stages import read
from codetune.runs import locked, read_json, write_json
from codetune.study.cells import FAILURE, write_problems
from codetune.study.children import Child, Nursery, start_alone
from codetune.study.plan import (
    CELLS,
    FOUND,
    JOB,
    RESULT,
    CellConfig,
    SearchJob,
    benchmarks_of,
    limited,
    plan_cells,
    plan_searches,
    unfinished,
)

if TYPE_CHECKING:
    from codetune.study.report import Report

LOG = "log.txt"
DONE = "done"


Job = CellConfig | SearchJob


@dataclass(frozen=True, slots=True)
class CellProgress:
    """Where a running study stands: which cell or search of how many, and how far its present stage is."""

    cell: Job
    number: int
    cells: int
    stage: str = "starting"
    done: int = 0
    total: int = 0
    note: str = ""


class Engine(Protocol):
    """What runs the jobs of a study: processes of this machine, or of a cluster."""

    def all(self, starts: Sequence[CellProgress]) -> list[str]:
        """Run these jobs to their end; what went wrong with those that failed, a line each."""
        ...


def run_study(recipe: StudyRecipe, report: Callable[[CellProgress], None], engine: Engine | None = None) -> Report:
    """Every search and cell that is not done yet, then the report. Killed at any moment, it goes on where it was.

    Without an engine `cells_at_once` run at a time, each with its share of the cores. A cell that fails does not keep the others.
    Raises UserError for what cannot work, and, when all other cells are done, for cells that failed.
    """
    with contextlib.ExitStack() as stack:
        engine = engine or stack.enter_context(Running(recipe.cells_at_once, report, ahead=_starts_soon(recipe)))
        cells, searches, asked = plan_cells(recipe), plan_searches(recipe), benchmarks_of(recipe)
        stack.enter_context(locked(recipe.folder))
        planned = {"cells": [cell.folder.name for cell in cells]}
        write_json(recipe.folder / "study.json", recipe.model_dump(mode="json") | planned)
        for benchmark in (asked[given] for given in recipe.benchmarks):
            write_problems(recipe.folder, benchmark.name, limited(benchmark, recipe.max_problems).problems)
        jobs: list[Job] = [*(job for job in searches if not is_found(job)), *unfinished(cells, [read_result(cell) for cell in cells])]
        numbered = [CellProgress(job, number, len(jobs)) for number, job in enumerate(jobs, start=1)]
        failures = engine.all([start for start in numbered if not _waits(start.cell)])
        after = [start for start in numbered if isinstance(start.cell, CellConfig) and _waits(start.cell)]
        failures += engine.all([start for start in after if _is_settled(start.cell, searches)])
        if failures and len(failures) == len(jobs):
            raise UserError("; ".join(dict.fromkeys(failures)))
        from codetune.study.report import write_report  # what draws takes half a second, for which no cell has to wait

        written = write_report(recipe.folder)
    if failures:
        raise UserError(f"{len(failures)} of {len(jobs)} cells failed ({'; '.join(failures)}); the report has the others: {written.html}")
    return written


def _starts_soon(recipe: StudyRecipe) -> bool:
    """Whether jobs that share a start will be there when the study is planned, as far as can be seen before."""
    planned = read(recipe.folder / "study.json").get("cells") or ()
    done = bool(planned) and all((recipe.folder / CELLS / name / RESULT).is_file() for name in planned)
    return not done and Nursery.possible() and all(recipe.train_of(model).fast for model in recipe.models)


def _waits(job: Job) -> bool:
    """Whether a job needs others to be done: the search that settles it, and the default row that it may turn out to be."""
    return isinstance(job, CellConfig) and job.search is not None


def _is_settled(job: Job, searches: Sequence[SearchJob]) -> bool:
    return any(search.folder == job.search and is_found(search) for search in searches) if isinstance(job, CellConfig) else True


def is_found(job: SearchJob) -> bool:
    """Whether a search has come to its end, with as many trials as it is to have."""
    kept = read(job.folder / FOUND)
    if not kept:
        return False
    wanted = SearchJob.model_validate(read_json(job.folder / JOB)) if (job.folder / JOB).exists() else None
    return wanted == job and bool(kept.get("trials"))


def read_result(cell: CellConfig) -> dict[str, Any] | None:
    """A cell's result, None where it has none that can be read."""
    return read(cell.folder / RESULT) or None


class CellError(Exception):
    """A cell ended without a result: one line that says which, why, and where the log is."""


class Running:
    """Cells in child processes, which die with this one; a few at once, each with its share of the cores.

    With `ahead` what they share is loaded from when this is entered, before it is known what they are.
    """

    def __init__(self, at_once: int, report: Callable[[CellProgress], None], ahead: bool = False) -> None:
        self.at_once, self._report = at_once, report
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._nursery: Nursery | None = None
        self._ending: signal.Signals | None = None
        self._ahead = ahead

    def __enter__(self) -> Running:
        if self._ahead:
            self._nursery = Nursery(_threads(self.at_once))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def _close(self) -> None:
        if self._nursery:
            self._nursery.close()
        self._nursery = None

    def all(self, starts: Sequence[CellProgress]) -> list[str]:
        """Run these jobs to their end; what went wrong with those that failed."""
        failures = []
        at_once = max(1, min(self.at_once, len(starts)))
        threads, shared = _threads(at_once), _share_a_start([start.cell for start in starts])
        if self._nursery and not (shared and self._nursery.threads == threads):
            self._close()
        pool = ThreadPoolExecutor(at_once)
        try:
            self._nursery = self._nursery or (Nursery(threads) if shared else None)
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
            self._close()
        return failures

    def _one(self, start: CellProgress, threads: int) -> None:
        """One job in a child process. Its stderr is kept as log.txt, why it failed as failure.json."""
        job, error = start.cell, ""
        self._tell(start)
        command = child_of(job)
        with (job.folder / LOG).open("a") as log:
            child = (self._nursery.start(Path(command[-1]), log) if self._nursery else None) or self._alone(command, log, threads)
            self._children.add(child)
            if self._ending:  # which came while the child was started
                child.send_signal(self._ending)
            assert child.stdout is not None
            for line in child.stdout:
                row = _parse(line)
                error = row.pop("error", error)
                if row:
                    self._tell(CellProgress(job, start.number, start.cells, **row))
            code = child.wait()
            self._children.discard(child)
        self._tell(replace(start, stage=DONE))
        require_success(job, code, error)

    def _alone(self, command: list[str], log: IO[str], threads: int) -> Child:
        if self._ending:
            raise Terminated if self._ending == signal.SIGTERM else KeyboardInterrupt
        return start_alone(command, log, threads)

    def _tell(self, progress: CellProgress) -> None:
        with self._lock:
            self._report(progress)

    def _end(self, how: signal.Signals) -> None:
        """Ctrl-C or SIGTERM for every child: it saves its checkpoint and ends."""
        self._ending = how
        if self._nursery:
            self._nursery.hurry()
        for child in list(self._children):
            child.send_signal(how)


def _threads(at_once: int) -> int:
    """The cores that each of so many jobs has to itself."""
    return max(1, len(os.sched_getaffinity(0)) // at_once)


def _share_a_start(jobs: Sequence[Job]) -> bool:
    """Whether jobs are forked from one process: where there are several and none wants the plain way."""
    return Nursery.possible() and len(jobs) > 1 and all(job.train is None or job.train.train.fast for job in jobs)


def child_of(job: Job) -> list[str]:
    """The command that runs a job, whose file it writes."""
    config = job.folder / (JOB if isinstance(job, SearchJob) else "cell.json")
    (job.folder / FAILURE).unlink(missing_ok=True)
    write_json(config, job.model_dump(mode="json"))
    return [sys.executable, "-W", "ignore", "-m", "codetune.imports", "codetune.study.run", str(config)]


def require_success(job: Job, code: int, error: str) -> None:
    """Raises what the exit code of a job's process stands for; a failure is kept in the job's folder."""
    if code == 130:
        raise KeyboardInterrupt
    if code == TERMINATED:
        raise Terminated
    if code == 0:
        return
    name = f"{job.called} {job.data_label} {job.row} (seed {job.seed})"
    if code == 2 and error:
        cause, line = error, f"{name}: {error}"
    else:
        cause = f"exit code {code}: {_last_line(job.folder / LOG)}"
        line = f"{name} ended with {cause}; see {job.folder / LOG}"
    write_json(job.folder / FAILURE, {"cause": cause})
    raise CellError(line)


def _parse(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _last_line(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    return lines[-1][:200] if lines else "no message"
