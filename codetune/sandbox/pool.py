"""`Sandbox`: runs generated programs on a pool of zygotes and gives one result per program, in order.

with Sandbox(workers=2) as sandbox:
    for result in sandbox.check([(program, problem)]):
        print(result.verdict)
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from codetune.errors import UserError
from codetune.records import Problem, ProgramResult
from codetune.sandbox.judge import Judge, RunResult
from codetune.sandbox.worker import Outcome, Step, Worker

T = TypeVar("T")
_AHEAD = 8  # jobs per worker that may be finished before the oldest one is


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Sandbox:
    """Runs untrusted Python programs; a context manager. docs/sandbox.md says what it guarantees and what it does not.

    `workers` programs run at once (default: one per core), each within `memory_mb` of address space and `output_bytes` of output
    (and per file). `timeout_s` overrides every problem's own. `unsafe` accepts a machine without Landlock and seccomp;
    `tier` then starts with `T0`. Raises UserError where the machine cannot sandbox.
    """

    def __init__(
        self,
        workers: int | None = None,
        memory_mb: int = 1024,
        timeout_s: float | None = None,
        output_bytes: int = 1 << 16,
        unsafe: bool = False,
    ) -> None:
        if sys.platform != "linux":
            raise UserError(f"the sandbox needs Linux, this is {sys.platform}: use WSL (Windows) or a Linux container (macOS)")
        for name, value, least in (("workers", workers, 1), ("memory_mb", memory_mb, 128), ("timeout_s", timeout_s, 0.1)):
            if value is not None and value < least:
                raise UserError(f"sandbox: {name}={value}; at least {least}")
        self._judge = Judge(memory_mb, timeout_s, output_bytes)
        self._count = workers or cores()
        self._unsafe = unsafe
        self._workers: list[Worker] = []
        self._busy = threading.Lock()

    def __enter__(self) -> Sandbox:
        self._workers = [Worker(0)]
        if self.tier.startswith("T0") and not self._unsafe:
            self.close()
            raise UserError("the sandbox needs Landlock and seccomp (Linux 5.13, x86_64 or aarch64); see `codetune doctor`")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all workers; nothing stays behind."""
        while self._workers:
            self._workers.pop().close()

    @property
    def tier(self) -> str:
        """What protects the host, for the record: `T1: landlock 7 + seccomp + rlimits + own uid`."""
        return self._started()[0].tier

    def check(self, jobs: Iterable[tuple[str, Problem]]) -> Iterator[ProgramResult]:
        """Each (program, problem) against the problem's tests. Yields in order; reads `jobs` as it goes."""
        return self._drive(self._judge.check(program, problem) for program, problem in jobs)

    def run(self, program: str, stdin: str = "", timeout_s: float = 10.0) -> RunResult:
        """The program as a script, without tests."""
        return next(self._drive(iter([self._judge.run(program, stdin, timeout_s)])))

    def loads(self, programs: Iterable[str], timeout_s: float = 5.0) -> Iterator[ProgramResult]:
        """For each program whether its definitions execute without error (PASSED), in order."""
        return self._drive(self._judge.loads(program, timeout_s) for program in programs)

    def _started(self) -> list[Worker]:
        if not self._workers:
            raise RuntimeError("use the sandbox in a with statement")
        return self._workers

    def _drive(self, jobs: Iterator[Generator[Step, Outcome, T]]) -> Iterator[T]:
        """Run generators of steps on all workers, and give back what they return, in order."""
        if not self._busy.acquire(timeout=3600):
            raise RuntimeError("the sandbox is busy with another iteration")
        run = _Run(self._started(), self._count, jobs)
        try:
            yield from run.results()
        finally:
            run.abandon()
            self._busy.release()


class _Run:
    """One pass over jobs: which worker runs which, and what is finished but not yet due."""

    def __init__(self, workers: list[Worker], count: int, jobs: Iterator[Generator[Step, Outcome, Any]]) -> None:
        self.workers, self.count, self.jobs = workers, count, jobs
        self.active: dict[Worker, tuple[int, Generator[Step, Outcome, Any], Step, int]] = {}
        self.finished: dict[int, Any] = {}
        self.taken = self.given = 0
        self.exhausted = False

    def results(self) -> Iterator[Any]:
        while True:
            self._fill()
            while self.given in self.finished:
                self.given += 1
                yield self.finished.pop(self.given - 1)
            if not self.active and self.exhausted:
                return
            self._wait()

    def _fill(self) -> None:
        """Give every idle worker a job; more workers are started only when there is work for them."""
        while not self.exhausted and self.taken - self.given < _AHEAD * self.count:
            idle = next((worker for worker in self.workers if worker not in self.active), None)
            if idle is None and len(self.workers) == self.count:
                return
            job = next(self.jobs, None)
            if job is None:
                self.exhausted = True
                return
            if idle is None:
                idle = Worker(len(self.workers))
                self.workers.append(idle)
            number, self.taken = self.taken, self.taken + 1
            self._proceed(idle, number, job, None)

    def _proceed(self, worker: Worker, number: int, job: Generator[Step, Outcome, Any], outcome: Outcome | None) -> None:
        try:
            step = next(job) if outcome is None else job.send(outcome)
        except StopIteration as stop:
            self.finished[number] = stop.value
            self.active.pop(worker, None)
            return
        self.active[worker] = (number, job, step, 1)
        worker.start(step)

    def _wait(self) -> None:
        """Until at least one worker has news."""
        owners = {sock: worker for worker in self.active for sock in worker.sockets()}
        poll = select.poll()
        by_number = {sock.fileno(): sock for sock in owners}
        for number in by_number:
            poll.register(number, select.POLLIN)
        ready = [by_number[number] for number, _ in poll.poll(1000)]
        for worker in list(self.active):
            outcome = worker.advance([sock for sock in ready if owners[sock] is worker])
            if outcome is None:
                continue
            number, job, step, attempt = self.active[worker]
            if outcome.lost and attempt == 1:
                self.active[worker] = (number, job, step, 2)
                worker.start(step)
            else:
                self._proceed(worker, number, job, outcome)

    def abandon(self) -> None:
        """The consumer stopped early: drop what runs."""
        for worker in self.active:
            worker.abort()
        self.active.clear()
