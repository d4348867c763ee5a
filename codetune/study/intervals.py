"""Scored samples as tables of seeds x problems, and the 95% intervals of what a report says about them.

Which interval where is argued in `codetune.score.statistics` and `codetune.score.crossed`; this module only picks: one seed covers
problems, several cover problems and seeds. Corpus BLEU is no mean over problems: with one seed it is bootstrapped, with several its
jackknife pseudo-values (Tukey 1958), whose mean is BLEU again, go through the same two-way rule as pass rates, and from five seeds the
interval of a row is no narrower than that of the bootstrap of problems crossed with seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from codetune.records import Problem
from codetune.score import crossed, statistics
from codetune.score.bleu import CONALA
from codetune.study.cells import Outcome

Array = NDArray[np.float64]
Interval = tuple[float, float]
Kind = Literal["pass@1", "bleu"]
BOOTSTRAP_SEEDS = 5  # from so many on, seeds can be resampled
RESAMPLES = 10_000  # of a pair: corrected for 50 comparisons, its smallest p-value is still .005


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
    """First minus second over the same problems; wins and losses count problems. `runs` are those of either row: 1 stands as it is."""

    value: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    problems: int
    runs: tuple[int, int]
    method: str

    def turned(self) -> PairedGap:
        """Second minus first."""
        return replace(
            self, value=-self.value, low=-self.high, high=-self.low, wins=self.losses, losses=self.wins, runs=(self.runs[1], self.runs[0])
        )


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
    found = statistics.mean_interval(clipped[0]) if len(table) == 1 else crossed.crossed_interval(clipped)
    return found.low, found.high


def bleu_interval(scored: Scored) -> Interval | None:
    """Of corpus BLEU, averaged over seeds."""
    counts = scored.bleu_counts
    if counts is None or counts.shape[1] < 2:
        return None
    if len(counts) == 1:
        found = statistics.bootstrap(counts[0], CONALA.score)
        return found.low, found.high
    value = float(CONALA.score(counts.sum(axis=1)).mean())
    found = crossed.crossed_interval(_pseudo_values(counts), bounds=(-np.inf, np.inf))
    # On the scale of logarithms: BLEU is skewed where it is low, and seeds differ in proportion.
    stretch = math.exp(min(50.0, (found.high - found.low) / 2 / value)) if value > 0 else 1.0
    low, high = value / stretch, min(1.0, value * stretch)
    if len(counts) < BOOTSTRAP_SEEDS:
        return low, high
    resampled = crossed.crossed_bootstrap(counts, CONALA.score)
    return min(low, resampled.low), max(high, resampled.high)


def paired_gap(first: Scored, second: Scored, kind: Kind) -> PairedGap | None:
    """Difference with interval and p-value over the problems that both answered; None where the records do not permit one."""
    pair = _aligned(first, second, kind)
    if pair is None:
        return None
    ours, theirs = pair
    found = _paired_means(ours, theirs) if kind == "pass@1" else _paired_bleu(ours, theirs)
    runs, problems = (len(ours), len(theirs)), ours.shape[1]
    return PairedGap(found.value, found.low, found.high, found.p_value, found.wins, found.losses, problems, runs, found.method)


def value_tables(first: Scored, second: Scored, kind: Kind) -> tuple[Array, Array] | None:
    """Both rows' values as (runs, problems) over the problems that both answered, BLEU as pseudo-values; None as above."""
    pair = _aligned(first, second, kind)
    if pair is None or kind == "pass@1":
        return pair
    return _pseudo_values(pair[0]), _pseudo_values(pair[1])


def _aligned(first: Scored, second: Scored, kind: Kind) -> tuple[Array, Array] | None:
    theirs_too = set(second.task_ids)
    common = [task_id for task_id in first.task_ids if task_id in theirs_too]
    ours, theirs = (scored.passed if kind == "pass@1" else scored.bleu_counts for scored in (first, second))
    if ours is None or theirs is None or len(common) < 2:
        return None
    return _cut(ours, first, common), _cut(theirs, second, common)


def _paired_means(ours: Array, theirs: Array) -> statistics.Difference:
    if len(ours) == len(theirs) == 1:
        return statistics.paired_difference(ours[0], theirs[0])
    return crossed.crossed_difference(ours, theirs)


def _paired_bleu(ours: Array, theirs: Array) -> statistics.Difference:
    if len(ours) == len(theirs) == 1:
        return statistics.paired_bootstrap(ours[0], theirs[0], CONALA.score, resamples=RESAMPLES)
    value = float(CONALA.score(ours.sum(axis=1)).mean() - CONALA.score(theirs.sum(axis=1)).mean())
    found = crossed.crossed_difference(_pseudo_values(ours), _pseudo_values(theirs), bounds=(-np.inf, np.inf))
    shift = value - found.value  # pseudo-values are corrected for bias: what is reported is not
    each = CONALA.score(ours).mean(axis=0) - CONALA.score(theirs).mean(axis=0)
    low, high = max(-1.0, found.low + shift), min(1.0, found.high + shift)
    wins, losses = int((each > 1e-12).sum()), int((each < -1e-12).sum())
    return statistics.Difference(value, low, high, found.p_value, wins, losses, f"jackknife, {found.method}")


def _pseudo_values(counts: Array) -> Array:
    """n * BLEU - (n - 1) * BLEU without the problem, (seeds, problems, 14) -> (seeds, problems)."""
    total, number = counts.sum(axis=1, keepdims=True), counts.shape[1]
    return np.asarray(number * CONALA.score(total) - (number - 1) * CONALA.score(total - counts))


def _by_problem(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.task_id, []).append(outcome)
    return grouped


def _bleu_counts(samples: Sequence[Outcome], references: Mapping[str, str]) -> Array:
    return np.asarray(CONALA.counts([(sample.completion, [references[sample.task_id]]) for sample in samples]).sum(axis=0))


def _cut(table: Array, scored: Scored, task_ids: list[str]) -> Array:
    if list(scored.task_ids) == task_ids:
        return table
    position = {task_id: column for column, task_id in enumerate(scored.task_ids)}
    return table[:, [position[task_id] for task_id in task_ids]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
