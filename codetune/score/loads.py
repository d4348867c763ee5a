"""`loads` and doctests: all that execution can say about answers to wishes without tests. Neither is a pass rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codetune.records import ProgramResult
from codetune.score.execution import Checker, Job, passes_by_problem, run_programs
from codetune.score.pass_at_k import per_problem
from codetune.score.statistics import mean_interval


@dataclass(frozen=True, slots=True)
class LoadScores:
    """Shares in 0..1, means over problems. A ceiling is what the references themselves reach; None where no problem has doctests."""

    loads: float
    loads_ci95: tuple[float, float]
    loads_ceiling: float
    doctest_problems: int
    doctests: float | None = None
    doctests_ceiling: float | None = None


def score_loads(
    jobs: Sequence[Job], sandbox: Checker, on_result: Callable[[int], None] | None = None
) -> tuple[LoadScores, list[ProgramResult]]:
    """The shares, and for each job whether its definitions execute. Equal programs run once; references run, too."""
    results = _load(jobs, sandbox, on_result)
    references = [(problem.reference_program, problem) for problem in {problem.task_id: problem for _, problem in jobs}.values()]
    estimate = mean_interval(per_problem(list(passes_by_problem(jobs, results).values()), 1))
    tested = [job for job in jobs if job[1].tests]
    tested_references = [job for job in references if job[1].tests]
    scores = LoadScores(
        loads=estimate.value,
        loads_ci95=(estimate.low, estimate.high),
        loads_ceiling=_share(references, _load(references, sandbox)),
        doctest_problems=len(tested_references),
        doctests=_share(tested, run_programs(tested, sandbox)) if tested else None,
        doctests_ceiling=_share(tested_references, run_programs(tested_references, sandbox)) if tested else None,
    )
    return scores, results


def _load(jobs: Sequence[Job], sandbox: Checker, on_result: Callable[[int], None] | None = None) -> list[ProgramResult]:
    found: dict[str, ProgramResult] = {}
    counts = Counter(program for program, _ in jobs)
    for program, result in zip(counts, sandbox.loads(counts), strict=True):
        found[program] = result
        if on_result:
            on_result(counts[program])
    return [found[program] for program, _ in jobs]


def _share(jobs: Sequence[Job], results: Sequence[ProgramResult]) -> float:
    """The mean over problems of the share of their samples that passed."""
    shares = per_problem(list(passes_by_problem(jobs, results).values()), 1)
    return float(sum(shares) / len(shares))
