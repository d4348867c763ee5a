"""Whether one set of samples is better than another on the same benchmark, and how sure that is.

    gap = compare(benchmark, (scores, samples), (other_scores, other_samples))
    print(gap.difference.value, gap.difference.low, gap.difference.high, gap.difference.p_value)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError
from codetune.evaluate import Scores, pair_of
from codetune.records import Json, Sample, Verdict, to_json
from codetune.score.bleu import CONALA, Array
from codetune.score.statistics import Difference, paired_bootstrap, paired_difference

Scored = tuple[Scores, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """First minus second over the problems that both answered; `metric` is pass@1, or BLEU where nothing is executed."""

    metric: str
    num_problems: int
    difference: Difference

    def summary(self) -> Json:
        """The comparison as a JSON object, with its interval as `ci95`."""
        found: Json = to_json(self.difference)
        return {"metric": self.metric, "num_problems": self.num_problems, "ci95": [found.pop("low"), found.pop("high")], **found}


def compare(benchmark: Benchmark, first: Scored, second: Scored) -> Comparison:
    """The paired difference of two scored sets of samples; samples of one problem are taken together first.

    pass@1: Bonett and Price's interval and McNemar's exact test with one sample per problem, else Student's t and sign flips.
    BLEU: the paired bootstrap (Koehn 2004). Raises UserError where fewer than two problems have samples of both.
    """
    executed = benchmark.kind == "execution"
    ours, theirs = (_pass_rates(scored[0]) if executed else _bleu_counts(benchmark, scored[1]) for scored in (first, second))
    common = [problem.task_id for problem in benchmark.problems if problem.task_id in ours and problem.task_id in theirs]
    if len(common) < 2:
        raise UserError(f"{len(common)} problems of {benchmark.name} have samples in both files; two sets are compared on at least 2")
    a, b = (np.array([values[task_id] for task_id in common]) for values in (ours, theirs))
    if executed:
        return Comparison("pass@1", len(common), paired_difference(a, b))
    return Comparison("bleu", len(common), paired_bootstrap(a, b, CONALA.score))


def _pass_rates(scores: Scores) -> dict[str, float]:
    outcomes: dict[str, list[bool]] = {}
    for sample in scores.samples:
        if sample.result is not None and sample.result.verdict is not Verdict.INFRASTRUCTURE:
            outcomes.setdefault(sample.task_id, []).append(sample.result.verdict is Verdict.PASSED)
    return {task_id: sum(passed) / len(passed) for task_id, passed in outcomes.items()}


def _bleu_counts(benchmark: Benchmark, samples: Sequence[Sample]) -> dict[str, Array]:
    problems = {problem.task_id: problem for problem in benchmark.problems}
    rows = CONALA.counts([pair_of(sample, problems[sample.task_id]) for sample in samples])
    counts: dict[str, Array] = {}
    for sample, row in zip(samples, rows, strict=True):
        counts[sample.task_id] = counts.get(sample.task_id, np.zeros(len(row))) + row
    return counts
