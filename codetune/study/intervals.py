"""Scored samples as tables of seeds x problems, and the 95% intervals of what a report says about them.

Which interval where is argued in `codetune.score.statistics`; this module only picks: one seed covers problems, several cover
problems and seeds. Corpus BLEU is no mean over problems: with one seed it is bootstrapped, with several its jackknife
pseudo-values (Tukey 1958), whose mean is BLEU again, go through the same two-way rule as pass rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codetune.records import Problem
from codetune.score import statistics
from codetune.score.bleu import CONALA
from codetune.study.cells import Outcome

Array = NDArray[np.float64]
Interval = tuple[float, float]
Kind = Literal["pass@1", "bleu"]


@dataclass(frozen=True)
class Scored:
    """One row on one benchmark, over the problems that every seed answered; samples of a problem are averaged.

    `passed` and `metrics` are (seeds, problems); `bleu_counts` (seeds, problems, 14) are summed over samples. None: not known.
    """

    task_ids: tuple[str, ...] = ()
    passed: Array | None = None
    metrics: Mapping[str, Array] | None = None
    bleu_counts: Array | None = None


@dataclass(frozen=True, slots=True)
class PairedGap:
    """First minus second over the same problems; the p-value, wins and losses (problems) are known with one seed only."""

    value: float
    low: float
    high: float
    p_value: float | None = None
    wins: int | None = None
    losses: int | None = None


def table_of(by_seed: Mapping[int, Sequence[Outcome]], problems: Sequence[Problem], reported_bleu: float | None) -> Scored:
    """The tables of one row on one benchmark.

    BLEU is counted again from the completions; where that does not give the reported value (another text or variant was
    scored), the counts are left out, and with them the interval.
    """
    grouped = [_by_problem(outcomes) for outcomes in by_seed.values()]
    task_ids = tuple(t for t in (grouped[0] if grouped else ()) if all(t in found for found in grouped))
    if not task_ids:
        return Scored()
    samples = [[found[task_id] for task_id in task_ids] for found in grouped]
    everything = [outcome for line in samples for group in line for outcome in group]
    passed = None
    if all(outcome.verdict for outcome in everything):
        passed = np.array([[_mean([o.verdict == "passed" for o in group]) for group in line] for line in samples])
    names = set.intersection(*(set(outcome.metrics) for outcome in everything))
    metrics = {name: np.array([[_mean([o.metrics[name] for o in group]) for group in line] for line in samples]) for name in names}
    references = {problem.task_id: problem.reference for problem in problems}
    counts = None
    if reported_bleu is not None and all(references.get(task_id) for task_id in task_ids):
        counts = np.array([[_bleu_counts(group, references) for group in line] for line in samples])
        counts = counts if abs(_mean(CONALA.score(counts.sum(axis=1)).tolist()) - reported_bleu) < 1e-6 else None
    return Scored(task_ids, passed, metrics, counts)


def mean_interval(table: Array) -> Interval | None:
    """Of the mean of a (seeds, problems) table of values in 0..1; None for a single problem."""
    if table.shape[1] < 2:
        return None
    clipped = np.clip(table, 0.0, 1.0)  # a mean of floats may come to 1 + 1e-16
    found = statistics.mean_interval(clipped[0]) if len(table) == 1 else statistics.crossed_interval(clipped)
    return found.low, found.high


def bleu_interval(scored: Scored) -> Interval | None:
    """Of corpus BLEU, averaged over seeds."""
    counts = scored.bleu_counts
    if counts is None or counts.shape[1] < 2:
        return None
    if len(counts) == 1:
        found = statistics.bootstrap(counts[0], CONALA.score)
        return found.low, found.high
    return _around(_mean(CONALA.score(counts.sum(axis=1)).tolist()), _pseudo_values(counts), 0.0)


def paired_gap(first: Scored, second: Scored, kind: Kind) -> PairedGap | None:
    """Difference with its interval over the problems that both answered; None where the records do not permit one."""
    common = tuple(task_id for task_id in first.task_ids if task_id in set(second.task_ids))
    ours, theirs = (scored.passed if kind == "pass@1" else scored.bleu_counts for scored in (first, second))
    if ours is None or theirs is None or len(common) < 2:
        return None
    seeds = min({len(ours), len(theirs)} - {1}, default=1)
    a, b = (_cut(table, scored, common, seeds) for table, scored in ((ours, first), (theirs, second)))
    if kind == "pass@1":
        return _paired_means(a, b)
    return _paired_bleu(a, b)


def _paired_means(ours: Array, theirs: Array) -> PairedGap:
    if len(ours) == 1:
        return _gap(statistics.paired_difference(ours[0], theirs[0]))
    found = statistics.crossed_interval(ours - theirs, bounds=(-1.0, 1.0))
    return PairedGap(found.value, found.low, found.high)


def _paired_bleu(ours: Array, theirs: Array) -> PairedGap:
    if len(ours) == 1:
        return _gap(statistics.paired_bootstrap(ours[0], theirs[0], CONALA.score))
    value = float((CONALA.score(ours.sum(axis=1)) - CONALA.score(theirs.sum(axis=1))).mean())
    return PairedGap(value, *_around(value, _pseudo_values(ours) - _pseudo_values(theirs), -1.0))


def _gap(found: statistics.Difference) -> PairedGap:
    return PairedGap(found.value, found.low, found.high, found.p_value, found.wins, found.losses)


def _pseudo_values(counts: Array) -> Array:
    """n * BLEU - (n - 1) * BLEU without the problem, (seeds, problems, 14) -> (seeds, problems)."""
    total, number = counts.sum(axis=1, keepdims=True), counts.shape[1]
    return np.asarray(number * CONALA.score(total) - (number - 1) * CONALA.score(total - counts))


def _around(value: float, table: Array, lowest: float) -> Interval:
    """The two-way interval of a table, moved from the table's mean (corrected for bias) to the value that is reported."""
    found = statistics.crossed_interval(table, bounds=(-np.inf, np.inf))
    shift = value - found.value
    return max(lowest, found.low + shift), min(1.0, found.high + shift)


def _by_problem(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.task_id, []).append(outcome)
    return grouped


def _bleu_counts(samples: Sequence[Outcome], references: Mapping[str, str]) -> Array:
    return np.asarray(CONALA.counts([(sample.completion, [references[sample.task_id]]) for sample in samples]).sum(axis=0))


def _cut(table: Array, scored: Scored, task_ids: Sequence[str], seeds: int) -> Array:
    """Only these problems, and the first `seeds` seeds; a single run stands for every seed."""
    position = {task_id: column for column, task_id in enumerate(scored.task_ids)}
    rows = np.repeat(table, seeds, axis=0) if len(table) == 1 else table[:seeds]
    return rows[:, [position[task_id] for task_id in task_ids]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
