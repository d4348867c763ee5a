"""Runs and tests programs for those who ask over the network: in sandboxes alone, a few at once, and not more than may wait.

    with closing(Workbench()) as workbench:
        result = workbench.run("print(input())", "hello").result()
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from codetune.errors import UserError
from codetune.records import Problem, ProgramResult
from codetune.sandbox import RunResult, Sandbox
from codetune.sandbox.pool import cores
from codetune.score.execution import Job
from codetune.serve.crew import Crew

T = TypeVar("T")
RUN_TIMEOUT_S = 10.0  # processor seconds of a program from the page
_MOST_WORKERS = 4


class Workbench:
    """One sandbox a worker, opened when it is first needed. Where this machine has none, `missing` says why, and nothing is ever run."""

    def __init__(
        self, workers: int | None = None, waiting: int = 32, memory_mb: int = 1024, tier: str | None = None, unsafe: bool = False,
        missing: str = "",
    ) -> None:  # fmt: skip
        """`waiting` programs may wait for one of `workers`. `tier` and `unsafe` are the sandbox's own; with `missing` none is tried."""
        count = workers or min(cores(), _MOST_WORKERS)
        self._make = partial(Sandbox, workers=1, memory_mb=memory_mb, tier=tier, unsafe=unsafe)
        self._programs = Crew("programs", count, waiting)
        self._free = threading.Semaphore(count)
        self._idle, self._all = list[Sandbox](), list[Sandbox]()
        self._opened, self._lock = contextlib.ExitStack(), threading.Lock()
        self._tier, self._missing, self._tried = "", missing, bool(missing)

    @property
    def tier(self) -> str:
        """How well programs are walled off, as the sandbox says it; "" where there is none. Waits for the first sandbox to open."""
        self._try()
        return self._tier

    @property
    def missing(self) -> str:
        """Why there is no sandbox, in a line; "" where there is one."""
        self._try()
        return self._missing

    def run(
        self, program: str, stdin: str = "", arguments: Sequence[str] = (), timeout_s: float = RUN_TIMEOUT_S
    ) -> Future[RunResult]:
        """The program as a script. Raises BusyError where too many wait; the future raises UserError where there is no sandbox."""
        return self._programs.submit(lambda: self._using(partial(_ran, program, stdin, timeout_s, tuple(arguments))))

    def test(self, program: str, problem: Problem) -> Future[ProgramResult]:
        """The program against the problem's tests. Raises as `run` does."""
        return self._programs.submit(lambda: self._checked(program, problem))

    def check(self, jobs: Iterable[Job]) -> Iterator[ProgramResult]:
        """The result of each, in order, as a sandbox's own: for what mends, which waits for its turn and is never told to come again."""
        for program, problem in jobs:
            yield self._checked(program, problem)

    def loads(self, programs: Iterable[str]) -> Iterator[ProgramResult]:
        """For each program whether its definitions execute."""
        for program in programs:
            yield self._using(partial(_loaded, program))

    def close(self) -> None:
        """End all sandboxes; what runs in them is given up."""
        with self._lock:
            self._missing, self._tier, self._tried = "the server is ending", "", True
            for sandbox in self._all:
                sandbox.stop()
        self._programs.close()
        with self._lock:
            self._opened.close()
            self._idle.clear()

    def _checked(self, program: str, problem: Problem) -> ProgramResult:
        return self._using(partial(_checked, program, problem))

    def _using(self, work: Callable[[Sandbox], T]) -> T:
        """What the work gives with a sandbox of its own. Raises UserError where there is none."""
        with self._free:
            if self.missing:
                raise UserError(f"programs cannot be run here: {self._missing}")
            with self._lock:
                sandbox = self._idle.pop() if self._idle else self._open()
            try:
                return work(sandbox)
            finally:
                with self._lock:
                    self._idle.append(sandbox)

    def _try(self) -> None:
        with self._lock:
            if self._tried:
                return
            self._tried = True
            try:
                first = self._open()
            except UserError as error:
                self._missing = str(error)
            else:
                self._tier = first.tier
                self._idle.append(first)

    def _open(self) -> Sandbox:
        sandbox = self._opened.enter_context(self._make())
        self._all.append(sandbox)
        return sandbox


def _ran(program: str, stdin: str, timeout_s: float, arguments: Sequence[str], sandbox: Sandbox) -> RunResult:
    return sandbox.run(program, stdin, timeout_s, arguments)


def _loaded(program: str, sandbox: Sandbox) -> ProgramResult:
    return next(sandbox.loads([program]))


def _checked(program: str, problem: Problem, sandbox: Sandbox) -> ProgramResult:
    try:
        return next(sandbox.check([(program, problem)]))
    finally:
        sandbox.forget()  # each problem comes once
