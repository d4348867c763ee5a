"""Whether a text metric says what execution says: per program, within a problem, per system; intervals by resampling problems.

Pure functions on one value per program. Programs of one problem are drawn together, so intervals are honest about there being so many
problems, not so many programs. Which systems were compared is taken as given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetune.score.statistics import Array, mean_interval, percentiles, resampled_sums

RESAMPLES = 1000
_AT_ONCE = 4_000_000  # resampled values held at a time


@dataclass(frozen=True, slots=True)
class Programs:
    """Every scored program: which problem it answers (0, 1, ...), its metric, and whether it passed its tests (0 or 1)."""

    problem: NDArray[np.int64]
    metric: Array
    passed: Array

    @property
    def problems(self) -> int:
        return int(self.problem.max()) + 1 if len(self.problem) else 0

    def sums(self, values: Array) -> Array:
        """Of each problem's programs, shape (problems,)."""
        return np.bincount(self.problem, weights=values, minlength=self.problems).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Correlation:
    """With its 95% interval over problems; `count` is of what it is over: programs, problems or systems."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class WrongPreference:
    """On problems that have both, pairs of a failing and a passing program: how often the metric is higher for the one that fails.

    A problem counts once, with the share of its pairs. `ties` is the share where the metric sees no difference. A metric that knows nothing
    prefers the failing program as often as the passing one.
    """

    share: float
    low: float
    high: float
    ties: float
    pairs: int
    problems: int


def point_biserial(programs: Programs, seed: int = 0) -> Correlation | None:
    """Pearson's correlation of metric and passing over all programs; None where either is constant."""
    x, y = programs.metric, programs.passed
    sums = np.stack([programs.sums(v) for v in (np.ones_like(x), x, y, x * x, y * y, x * y)], axis=1)
    return with_interval(_pearson_of_sums(sums.sum(axis=0)[None])[0], _pearson_of_sums(_weights(programs, seed) @ sums), len(x))


def spearman(programs: Programs, seed: int = 0) -> Correlation | None:
    """The same of ranks, ranked anew in every resample; None where either is constant."""
    weights = _weights(programs, seed)
    step = max(1, _AT_ONCE // max(1, len(programs.metric)))
    order = np.argsort(programs.metric, kind="stable")
    parts = [_weighted_spearman(programs, weights[at : at + step], order) for at in range(0, len(weights), step)]
    value = _weighted_spearman(programs, np.ones((1, programs.problems)), order)[0]
    return with_interval(value, np.concatenate(parts), len(order))


def within_problems(programs: Programs, seed: int = 0) -> Correlation | None:
    """Rank correlation among the programs of one problem, pooled over the problems that have both passing and failing ones.

    What makes a problem hard moves every program's metric; this leaves it out. `count` is of these problems.
    """
    mixed = _mixed(programs)
    if not len(mixed):
        return None
    sums = np.zeros((programs.problems, 3))
    for one in mixed:
        chosen = programs.problem == one
        x, y = (_centred_ranks(v[chosen]) for v in (programs.metric, programs.passed))
        scale = 1 / chosen.sum() ** 3  # a problem counts once, however many programs answer it
        sums[one] = scale * np.array([x @ y, x @ x, y @ y])
    weights = _weights(programs, seed)
    return with_interval(_cosine(sums.sum(axis=0)[None])[0], _cosine(weights @ sums), len(mixed))


def wrong_preference(programs: Programs) -> WrongPreference | None:
    """How often the metric prefers the program that fails; None where no problem has both kinds."""
    mixed = _mixed(programs)
    if not len(mixed):
        return None
    shares, ties, pairs = np.zeros(len(mixed)), np.zeros(len(mixed)), 0
    for number, one in enumerate(mixed):
        chosen = programs.problem == one
        metric, passed = programs.metric[chosen], programs.passed[chosen] > 0
        gaps = metric[~passed][:, None] - metric[passed][None, :]
        shares[number], ties[number] = float((gaps > 1e-12).mean()), float((np.abs(gaps) <= 1e-12).mean())
        pairs += gaps.size
    found = mean_interval(shares)  # never a point, where a bootstrap of equal shares is one
    return WrongPreference(found.value, found.low, found.high, float(ties.mean()), pairs, len(mixed))


def systems(metric: Array, passed: Array, seed: int = 0, ranks: bool = False) -> Correlation | None:
    """Correlation over systems (rows of a study) of mean metric with pass rate, from tables (systems, problems).

    Pearson's, or Spearman's with `ranks`. None for fewer than three systems, or where either is the same for all.
    """
    number, problems = metric.shape
    if number < 3:
        return None
    weights = resampled_sums(problems, RESAMPLES, seed) / problems
    resampled = over_systems(weights @ metric.T, weights @ passed.T, ranks)
    value = over_systems(metric.mean(axis=1)[None], passed.mean(axis=1)[None], ranks)[0]
    return with_interval(value, resampled, number)


def over_systems(metric: Array, passed: Array, ranks: bool = False) -> Array:
    """The correlation along the last axis: (resamples, systems) twice -> (resamples,); NaN where either is constant."""
    if ranks:
        metric, passed = ranked(metric), ranked(passed)
    x, y = (v - v.mean(axis=-1, keepdims=True) for v in (metric, passed))
    return _cosine(np.stack([(x * y).sum(-1), (x * x).sum(-1), (y * y).sum(-1)], axis=-1))


def _weights(programs: Programs, seed: int) -> Array:
    return resampled_sums(programs.problems, RESAMPLES, seed)


def _mixed(programs: Programs) -> NDArray[np.int64]:
    """Problems with a passing and a failing program."""
    passed, failed = programs.sums(programs.passed), programs.sums(1 - programs.passed)
    return np.flatnonzero((passed > 0) & (failed > 0))


def _weighted_spearman(programs: Programs, weights: Array, order: NDArray[np.int64]) -> Array:
    """Of resamples in which a program counts as often as its problem was drawn: (resamples, problems) -> (resamples,)."""
    counted = weights[:, programs.problem[order]]
    metric, passed = programs.metric[order], programs.passed[order]
    upto = np.cumsum(counted, axis=1)
    last = np.flatnonzero(np.append(np.diff(metric) > 1e-12, True))  # of each run of equal metrics
    run = np.searchsorted(last, np.arange(len(metric)))
    upper = upto[:, last]
    lower = np.concatenate([np.zeros((len(upper), 1)), upper[:, :-1]], axis=1)
    ranks = ((upper + lower) / 2)[:, run]  # mid-ranks, less a half that no correlation sees
    total = np.maximum(upto[:, -1:], 1)
    x = ranks - (counted * ranks).sum(axis=1, keepdims=True) / total
    y = passed - (counted * passed).sum(axis=1, keepdims=True) / total  # ranks of two values are these, moved and stretched
    return _cosine(np.stack([(counted * x * y).sum(1), (counted * x * x).sum(1), (counted * y * y).sum(1)], axis=-1))


def _pearson_of_sums(sums: Array) -> Array:
    """From sums of 1, x, y, x², y², xy, shape (..., 6)."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)
    return _cosine(np.stack([xy - x * y / n, xx - x * x / n, yy - y * y / n], axis=-1))


def _cosine(sums: Array) -> Array:
    """xy / sqrt(xx * yy) of (..., 3); NaN where one side does not vary."""
    xy, xx, yy = np.moveaxis(sums, -1, 0)
    varies = (xx > 1e-12) & (yy > 1e-12)
    return np.asarray(np.where(varies, xy / np.sqrt(np.where(varies, xx * yy, 1)), np.nan))


def _centred_ranks(values: Array) -> Array:
    found = ranked(values)
    return np.asarray(found - found.mean())


def ranked(values: Array) -> Array:
    """Mid-ranks along the last axis, from 0; for few values, as all are compared with all."""
    gaps = values[..., :, None] - values[..., None, :]
    return np.asarray((gaps > 1e-12).sum(axis=-1) + ((np.abs(gaps) <= 1e-12).sum(axis=-1) - 1) / 2)


def with_interval(value: float, resampled: Array, count: int) -> Correlation | None:
    """A correlation with what resampling gave of it; None where it is not defined."""
    if not np.isfinite(value):
        return None
    found = resampled[np.isfinite(resampled)]
    low, high = percentiles(found, 0.95) if len(found) else (float(value), float(value))
    return Correlation(float(value), low, high, count)
