"""How sure a score of several training seeds is: problems crossed with seeds, both drawn from many, as pure functions.

A table is (runs, problems), one run per training seed. Its spread has three sources: which problems were asked, which seeds were
drawn, and the rest (what one seed happens to know). Two rows are compared on the same problems; their seeds are independent, whatever
their numbers. A row of one run (a base model, which no seed changes) is taken as it is.

Why these rules, what they were tried against, and what they cover in simulated studies: docs/studies/statistics.md, measured by
`python -m bench statistics`. In short: Satterthwaite's t covers with three seeds what it says; resampling problems and seeds covers
too much for pass rates and for differences (the rest is counted up to three times, Owen 2007) and serves a row's BLEU from five seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from codetune.score.statistics import (
    Array,
    Difference,
    Estimate,
    Statistic,
    half_without_spread,
    percentiles,
    resampled_sums,
    score_interval,
    t_quantile,
)

SEED_CAUTION = 2.0  # how many times their estimate seeds may vary, where a p-value's degrees of freedom are counted
PSEUDO = 1 / 3  # a win and a loss of so much are added where a row of one run is compared: Bonett and Price add whole ones to two runs
_NOTHING = 1e-15


@dataclass(frozen=True, slots=True)
class Sources:
    """A table's mean and its mean squares by source; those of runs and of the rest are 0 for a single run, which shows neither."""

    runs: int
    problems: int
    mean: float
    by_problem: float
    by_run: float
    rest: float

    @classmethod
    def of(cls, table: Array) -> Sources:
        runs, problems = table.shape
        mean = float(table.mean())
        of_runs, of_problems = table.mean(axis=1) - mean, table.mean(axis=0) - mean
        rest = table - mean - of_runs[:, None] - of_problems[None, :]
        by_problem = float(runs * of_problems @ of_problems) / (problems - 1)
        if runs == 1:
            return cls(1, problems, mean, by_problem, 0.0, 0.0)
        by_run = float(problems * of_runs @ of_runs) / (runs - 1)
        return cls(runs, problems, mean, by_problem, by_run, float((rest**2).sum()) / ((runs - 1) * (problems - 1)))


@dataclass(frozen=True, slots=True)
class Variance:
    """Of a mean or a difference of means: what problems, runs and the rest put into it.

    `runs` has for each row of several runs: the variance of the mean of its runs, the part of it that is rest, and how many runs.
    """

    problems: int
    of_problems: float
    runs: tuple[tuple[float, float, int], ...]

    @property
    def total(self) -> float:
        """problems + runs - rest (which is in both), no less than problems or runs alone."""
        spread, rest = self._sums()
        return max(self.of_problems + spread - rest, self.of_problems, spread)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom; of one source alone where the other is estimated as 0."""
        spread, _ = self._sums()
        if self.total > max(self.of_problems, spread):
            return self.total**2 / self._squares(1.0)
        if self.of_problems >= spread:
            return self.problems - 1.0
        return spread**2 / sum(own**2 / (runs - 1) for own, _, runs in self.runs)

    @property
    def careful_freedom(self) -> float:
        """The same for p-values, which are asked far out in the tail, where three seeds that agree by chance do most harm.

        Counted as though seeds varied `SEED_CAUTION` times as much as they were seen to.
        """
        spread, rest = self._sums()
        found = (self.of_problems + max(0.0, SEED_CAUTION * spread - rest)) ** 2 / self._squares(SEED_CAUTION)
        return max(1.0, min(found, self.freedom))

    def _sums(self) -> tuple[float, float]:
        return sum(own for own, _, _ in self.runs), sum(rest for _, rest, _ in self.runs)

    def _squares(self, caution: float) -> float:
        found = self.of_problems**2 / (self.problems - 1)
        for own, rest, runs in self.runs:
            found += (caution * own) ** 2 / (runs - 1) + rest**2 / ((runs - 1) * (self.problems - 1))
        return found


def crossed_interval(table: ArrayLike, confidence: float = 0.95, bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Grand mean of a (runs, problems) table, for new seeds and new problems.

    Two-way random effects with Satterthwaite's degrees of freedom (`Variance`). Values in 0..1 get the score interval at the
    effective number of trials, which is Wilson's with t in place of z: near 0 and 1 it covers more evenly than mean ± t. A table without
    any spread gets Wilson's width for as many equal outcomes. Other `bounds` get mean ± t, cut there. Raises ValueError for fewer than
    two runs or two problems: one run says nothing about others, so use `mean_interval` and say that it is over problems only.
    """
    data = _tables([table], at_least=2)[0]
    found = Sources.of(data)
    variance = _variance(found.by_problem / data.size, [found])
    method = "problems x seeds, Satterthwaite"
    if variance.total <= _NOTHING:
        half = half_without_spread(found.problems, confidence)
    else:
        quantile = t_quantile(confidence, variance.freedom)
        if bounds == (0.0, 1.0) and 0 < found.mean < 1:
            trials = found.mean * (1 - found.mean) / variance.total
            return Estimate(found.mean, *score_interval(found.mean, trials, quantile), method)
        half = quantile * math.sqrt(variance.total)
    return Estimate(found.mean, max(bounds[0], found.mean - half), min(bounds[1], found.mean + half), method)


def crossed_difference(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, bounds: tuple[float, float] = (-1.0, 1.0)
) -> Difference:
    """Mean difference of two rows over the same problems in the same order, for new problems and new seeds, with Satterthwaite's t.

    The p-value is of the same variance with `careful_freedom`, so it may be above .05 where the interval just leaves out 0. Wins and
    losses compare each problem's mean over runs. A single run is compared as it is; then, for values in 0..1 (finite bounds), a third
    of a win and of a loss are added. Raises ValueError for different problems, fewer than two, or two single runs (`paired_difference`).
    """
    a, b = _tables([first, second], at_least=1)
    if a.shape[1] != b.shape[1] or max(len(a), len(b)) < 2:
        raise ValueError(f"tables of shapes {a.shape} and {b.shape}: expected the same problems, and several runs in one of them")
    gaps = a.mean(axis=0) - b.mean(axis=0)
    value, variance = float(gaps.mean()), difference_variance(a, b)
    centre = value
    if min(len(a), len(b)) == 1 and math.isfinite(bounds[1] - bounds[0]):
        number = len(gaps) + 2
        centre = float(gaps.sum()) / number
        shrunk = (float(gaps @ gaps) + 2 * PSEUDO**2 - number * centre**2) / (number - 1) / number
        variance = Variance(variance.problems, max(variance.of_problems, shrunk), variance.runs)
    if variance.total > _NOTHING:
        half = t_quantile(confidence, variance.freedom) * math.sqrt(variance.total)
        p_value = _two_sided(abs(centre) / math.sqrt(variance.total), variance.careful_freedom)
    else:
        half = half_without_spread(len(gaps), confidence)
        p_value = _two_sided(abs(centre) / (half / 2), len(a) + len(b) - 2)
    wins, losses = int((gaps > 1e-12).sum()), int((gaps < -1e-12).sum())
    method = "problems x seeds, Satterthwaite"
    return Difference(value, max(bounds[0], centre - half), min(bounds[1], centre + half), p_value, wins, losses, method)


def difference_variance(first: Array, second: Array) -> Variance:
    """Of the difference of two rows' means, each (runs, problems) over the same problems, their seeds independent."""
    gaps = first.mean(axis=0) - second.mean(axis=0)
    rows = [Sources.of(table) for table in (first, second) if len(table) > 1]
    return _variance(float(gaps.var(ddof=1)) / len(gaps), rows)


def crossed_bootstrap(
    counts: Array, statistic: Statistic, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """A corpus metric averaged over runs, `counts` (runs, problems, columns), with its percentile interval over problems and runs.

    Problems and runs are drawn independently and crossed (Owen 2007); every run sees the same problems.
    """
    runs, problems = counts.shape[:2]
    weights = resampled_sums(problems, resamples, seed)
    values = np.stack([statistic(weights @ run) for run in counts], axis=1)
    drawn = np.random.default_rng([seed, 1]).multinomial(runs, np.full(runs, 1 / runs), size=resamples)
    low, high = percentiles((values * drawn).sum(axis=1) / runs, confidence)
    found = float(statistic(counts.sum(axis=1)).mean())
    return Estimate(found, low, high, f"crossed bootstrap over problems and seeds, {resamples} resamples")


def _variance(of_problems: float, rows: Sequence[Sources]) -> Variance:
    runs = tuple((row.by_run / (row.runs * row.problems), row.rest / (row.runs * row.problems), row.runs) for row in rows)
    return Variance(rows[0].problems, of_problems, runs)


def _tables(given: Sequence[ArrayLike], at_least: int) -> list[Array]:
    tables = [np.asarray(table, dtype=np.float64) for table in given]
    for table in tables:
        if table.ndim != 2 or table.shape[0] < at_least or table.shape[1] < 2 or not np.isfinite(table).all():
            raise ValueError(f"a table of shape {table.shape}: expected finite values, (seeds, problems), at least 2 of each")
    return tables


def _two_sided(t: float, freedom: float) -> float:
    from scipy.special import stdtr  # a quarter of a second to import, and only some tests need it

    return float(2 * stdtr(freedom, -t))
