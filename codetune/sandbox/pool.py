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
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from codetune.errors import UserError
from codetune.records import Problem, ProgramResult
from codetune.sandbox.judge import Judge, RunResult
from codetune.sandbox.selftest import AT_START, selftest
from codetune.sandbox.tiers import NAMES
from codetune.sandbox.worker import Outcome, Runner, Step, Worker

T = TypeVar("T")
_AHEAD = 8  # jobs per worker that may be finished before the oldest one is
_STARVED = 0.1  # share of its time that a program waited for a processor: then a timeout by wall clock is not its own fault


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


class _Started(NamedTuple):
    """A job whose step a worker runs; `again` where it is the step's second try."""

    number: int
    job: Generator[Step, Outcome, Any]
    step: Step
    again: bool = False


class Sandbox:
    """Runs untrusted Python programs; a context manager. docs/sandbox.md says what it guarantees and what it does not.

    `workers` programs run at once (default: one per core), each within `memory_mb` of address space and `output_bytes` of output
    (and per file). `timeout_s`, in processor seconds, overrides every problem's own. `tier` asks for "T2" or "T1"; without it the
    best that this machine offers is taken, and `fallback` says why it is not T2. `unsafe` accepts a machine without Landlock and
    seccomp; the tier is then T0. Entering runs attacks and refuses to go on if one succeeds. While the first processes start, `meanwhile`
    is called, for each tier that is tried: what takes time and harms nobody if it is done twice. Raises UserError.
    """

    def __init__(
        self,
        workers: int | None = None,
        memory_mb: int = 1024,
        timeout_s: float | None = None,
        output_bytes: int = 1 << 16,
        tier: str | None = None,
        unsafe: bool = False,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        if sys.platform != "linux":
            raise UserError(f"the sandbox needs Linux, this is {sys.platform}: use WSL (Windows) or a Linux container (macOS)")
        for name, value, least in (("workers", workers, 1), ("memory_mb", memory_mb, 128), ("timeout_s", timeout_s, 0.1)):
            if value is not None and value < least:
                raise UserError(f"sandbox: {name}={value}; at least {least}")
        self._judge = Judge(memory_mb, timeout_s, output_bytes)
        self._count = workers or cores()
        self._asked = (tier,) if tier else NAMES
        self._unsafe = unsafe
        self._meanwhile = meanwhile
        self._workers: list[Runner] = []
        self._busy = threading.Lock()
        self._stopping = threading.Event()
        self.fallback = ""

    def __enter__(self) -> Sandbox:
        try:
            self._begin_in_best()
            if self.tier.startswith("T0") and not self._unsafe:
                raise UserError("the sandbox needs Landlock and seccomp (Linux 5.13, x86_64 or aarch64); see `codetune doctor`")
            if not self.tier.startswith("T0"):
                self._refuse_holes()
        except BaseException:
            self.close()
            raise
        return self

    def _begin_in_best(self) -> None:
        """In the best tier that starts."""
        *better, last = self._asked
        for tier in better:
            try:
                self._begin(tier)
                return
            except UserError as error:
                self.close()
                self.fallback = str(error)
        self._begin(last)

    def _begin(self, tier: str) -> str:
        """As many workers as the attacks will keep busy, all at once; the first one's word of its tier. Raises UserError without it."""
        self._enclosed = tier
        for number in range(1 if self._unsafe else min(self._count, len(AT_START))):
            self._workers.append(Worker(number, tier))
        self._meanwhile()
        return self.tier

    def _refuse_holes(self) -> None:
        holes = [f"{finding.name} ({finding.seen})" for finding in selftest(self.check, AT_START) if not finding.held]
        if holes:
            raise UserError(f"the sandbox ({self.tier}) failed its self-test and is not used: {'; '.join(holes)}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def stop(self) -> None:
        """From another thread: give up what runs here, which raises UserError there within a second, and run nothing more."""
        self._stopping.set()

    def close(self) -> None:
        """End all workers; nothing stays behind."""
        for worker in self._workers:
            worker.leave()
        while self._workers:
            self._workers.pop().close()

    @property
    def tier(self) -> str:
        """What protects the host, for the record: `T1: landlock 7 + seccomp + rlimits + own uid`."""
        return self._started()[0].tier

    def check(self, jobs: Iterable[tuple[str, Problem]]) -> Iterator[ProgramResult]:
        """Each (program, problem) against the problem's tests. Yields in order; reads `jobs` as it goes."""
        return self._drive(self._judge.check(program, problem) for program, problem in jobs)

    def run(self, program: str, stdin: str = "", timeout_s: float = 10.0, arguments: Sequence[str] = ()) -> RunResult:
        """The program as a script, without tests; `arguments` are what follows its name in `sys.argv`."""
        return next(self._drive(iter([self._judge.run(program, stdin, timeout_s, arguments)])))

    def loads(self, programs: Iterable[str], timeout_s: float = 5.0) -> Iterator[ProgramResult]:
        """For each program whether its definitions execute without error (PASSED), in order."""
        return self._drive(self._judge.loads(program, timeout_s) for program in programs)

    def forget(self) -> None:
        """Drop what is remembered of problems (their references' answers and times): for whoever gives new ones without end."""
        with self._busy:
            self._judge.forget()

    def _started(self) -> list[Runner]:
        if not self._workers:
            raise RuntimeError("use the sandbox in a with statement")
        return self._workers

    def _drive(self, jobs: Iterator[Generator[Step, Outcome, T]]) -> Iterator[T]:
        """Run generators of steps on all workers, and give back what they return, in order."""
        if not self._busy.acquire(timeout=3600):
            raise RuntimeError("the sandbox is busy with another iteration")
        run = _Run(self._started(), self._count, lambda number: Worker(number, self._enclosed), jobs, self._stopping)
        try:
            yield from run.results()
        finally:
            run.abandon()
            self._busy.release()


class _Run:
    """One pass over jobs: which worker runs which, what waits for an idle machine, and what is finished but not yet due."""

    def __init__(
        self, workers: list[Runner], count: int, new_worker: Callable[[int], Runner], jobs: Iterator[Generator[Step, Outcome, Any]],
        stopping: threading.Event,
    ) -> None:  # fmt: skip
        self.workers, self.count, self.new_worker, self.jobs, self.stopping = workers, count, new_worker, jobs, stopping
        self.active: dict[Runner, _Started] = {}
        self.alone: deque[_Started] = deque()  # to be run again with nothing beside it
        self.finished: dict[int, Any] = {}
        self.taken = self.given = 0
        self.exhausted = False

    def results(self) -> Iterator[Any]:
        while True:
            if self.stopping.is_set():
                raise UserError("the sandbox was stopped: nothing more is run in it")
            self._fill()
            while self.given in self.finished:
                self.given += 1
                yield self.finished.pop(self.given - 1)
            if not self.active and not self.alone and self.exhausted:
                return
            self._wait()

    def _fill(self) -> None:
        """Give every idle worker a job; more workers are started only when there is work for them."""
        if self.alone:
            if not self.active:
                self._start(self.workers[0], self.alone.popleft())
            return
        while not self.exhausted and self.taken - self.given < _AHEAD * self.count:
            idle = next((worker for worker in self.workers if worker not in self.active), None)
            if idle is None and len(self.workers) == self.count:
                return
            job = next(self.jobs, None)
            if job is None:
                self.exhausted = True
                return
            if idle is None:
                idle = self.new_worker(len(self.workers))
                self.workers.append(idle)
            number, self.taken = self.taken, self.taken + 1
            self._proceed(idle, number, job, None)

    def _proceed(self, worker: Runner, number: int, job: Generator[Step, Outcome, Any], outcome: Outcome | None) -> None:
        self.active.pop(worker, None)
        try:
            step = next(job) if outcome is None else job.send(outcome)
        except StopIteration as stop:
            self.finished[number] = stop.value
            return
        self._start(worker, _Started(number, job, step))

    def _start(self, worker: Runner, started: _Started) -> None:
        self.active[worker] = started
        worker.start(started.step)

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
            if outcome is not None:
                self._take(worker, self.active.pop(worker), outcome)

    def _take(self, worker: Runner, started: _Started, outcome: Outcome) -> None:
        """Go on with the job, or run the step once more where the program was not given a fair chance."""
        starved = outcome.stopped == "wall" and outcome.waited_s > _STARVED * outcome.seconds
        if started.again or not (outcome.fault or starved):
            self._proceed(worker, started.number, started.job, outcome)
        else:
            self.alone.append(started._replace(again=True))

    def abandon(self) -> None:
        """The consumer stopped early: drop what runs."""
        for worker in self.active:
            worker.abort()
        self.active.clear()
