"""Runs programs against their problems' tests, equal programs once, and says what the verdicts add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from codetune.records import Problem, ProgramResult, Verdict

Job = tuple[str, Problem]  # a whole program, and the problem that it answers


class Checker(Protocol):
    """What scoring needs of a sandbox; `codetune.sandbox.Sandbox` is one."""

    @property
    def tier(self) -> str: ...

    def check(self, jobs: Iterable[Job]) -> Iterator[ProgramResult]: ...

    def loads(self, programs: Iterable[str]) -> Iterator[ProgramResult]: ...


def run_programs(jobs: Sequence[Job], sandbox: Checker, on_result: Callable[[int], None] | None = None) -> list[ProgramResult]:
    """The result of each job, in order. A program that answers the same problem twice runs once.

    `on_result` is called after every job that ran, with the number of jobs that this settled.
    """
    twins: dict[tuple[str, str], list[int]] = {}
    for position, (program, problem) in enumerate(jobs):
        twins.setdefault((problem.task_id, program), []).append(position)
    results: dict[int, ProgramResult] = {}
    distinct = [positions[0] for positions in twins.values()]
    for positions, result in zip(twins.values(), sandbox.check(jobs[first] for first in distinct), strict=True):
        results.update(dict.fromkeys(positions, result))
        if on_result:
            on_result(len(positions))
    return [results[position] for position in range(len(jobs))]


def count_verdicts(results: Iterable[ProgramResult]) -> dict[str, int]:
    """How many programs came to which verdict, most frequent first."""
    return dict(Counter(result.verdict.value for result in results).most_common())


def count_exceptions(results: Iterable[ProgramResult]) -> dict[str, int]:
    """How many programs raised an exception of which type, most frequent first."""
    return dict(Counter(result.exception for result in results if result.verdict is Verdict.EXCEPTION).most_common())


def count_integrity(results: Iterable[ProgramResult]) -> dict[str, int]:
    """How many verdicts are out of the program's reach (`strong`) and how many are not (`weak`)."""
    return dict(Counter(result.integrity.value for result in results).most_common())


def passes_by_problem(jobs: Sequence[Job], results: Sequence[ProgramResult]) -> dict[str, tuple[int, int]]:
    """task_id -> (samples, samples that passed), in the order in which the problems first appear.

    A sample that the sandbox failed to judge is no sample; a problem without a judged one is left out.
    """
    counts: dict[str, tuple[int, int]] = {}
    for (_, problem), result in zip(jobs, results, strict=True):
        if result.verdict is not Verdict.INFRASTRUCTURE:
            n, c = counts.get(problem.task_id, (0, 0))
            counts[problem.task_id] = (n + 1, c + (result.verdict is Verdict.PASSED))
    return counts
