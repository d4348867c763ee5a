"""How many problems and seeds it would take to tell two rows apart, from what makes them vary, as pure functions.

Planned with the same variance and the same t as `codetune.score.crossed` tests with, at the level that the correction for many
comparisons may ask of a pair. The components come from the records at hand, with few seeds roughly: read "about so many".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codetune.score.crossed import Sources, Variance
from codetune.score.statistics import Array, t_quantile

MOST_PROBLEMS = 1_000_000
MOST_SEEDS = 1_000
POWER = 0.8


@dataclass(frozen=True, slots=True)
class RowSpread:
    """Variances of one row's values: between seeds (of the whole row's level), and the rest; one run shows neither."""

    seeds: float
    rest: float


@dataclass(frozen=True, slots=True)
class PairSpread:
    """What makes the difference of two rows vary: problems (of the difference), and each row that has several runs."""

    problems: float
    rows: tuple[RowSpread, ...]

    @classmethod
    def of(cls, first: Array, second: Array) -> PairSpread:
        """From tables (runs, problems) over the same problems. With two single runs all spread is of problems."""
        sources = [Sources.of(table) for table in (first, second) if len(table) > 1]
        gaps = first.mean(axis=0) - second.mean(axis=0)
        rows = tuple(RowSpread(max(0.0, (one.by_run - one.rest) / one.problems), one.rest) for one in sources)
        rest = sum(one.rest / one.runs for one in sources)
        return cls(max(0.0, float(gaps.var(ddof=1)) - rest), rows)

    def variance(self, problems: int, seeds: int) -> Variance:
        """Expected of a study with so many problems and, for the rows that have several runs, so many seeds."""
        rest = sum(row.rest for row in self.rows) / seeds
        runs = tuple((row.seeds / seeds + row.rest / (seeds * problems), row.rest / (seeds * problems), seeds) for row in self.rows)
        return Variance(problems, (self.problems + rest) / problems, runs)


def power(spread: PairSpread, difference: float, problems: int, seeds: int, level: float = 0.05) -> float:
    """The chance that a true difference is told apart in the right direction: Student's t with noncentrality, two-sided test."""
    from scipy.special import chdtr, nctdtr

    variance = spread.variance(problems, seeds)
    if variance.total <= 0:
        return float(difference != 0)
    freedom = variance.careful_freedom
    away, quantile = abs(difference) / math.sqrt(variance.total), t_quantile(1 - level, freedom)
    if away > 30:  # the noncentral t loses its digits there, and all that is left to chance is how large the variance is estimated
        return float(chdtr(freedom, freedom * (away / quantile) ** 2))
    return float(1 - nctdtr(freedom, away, quantile))


def problems_needed(spread: PairSpread, difference: float, seeds: int, level: float = 0.05, wanted: float = POWER) -> int | None:
    """The fewest problems that give the power with so many seeds; None where no number up to a million does: seeds differ too much."""
    return _least(lambda problems: power(spread, difference, problems, seeds, level) >= wanted, 3, MOST_PROBLEMS)


def seeds_needed(spread: PairSpread, difference: float, problems: int, level: float = 0.05, wanted: float = POWER) -> int | None:
    """The fewest seeds that give the power on so many problems; None where no number up to a thousand does, or seeds are not known."""
    if not spread.rows:
        return None
    return _least(lambda seeds: power(spread, difference, problems, seeds, level) >= wanted, 2, MOST_SEEDS)


def smallest_difference(spread: PairSpread, problems: int, seeds: int, level: float = 0.05, wanted: float = POWER) -> float:
    """The true difference that such a study tells apart with the power, to a relative 1e-3."""
    total = spread.variance(problems, seeds).total
    if total <= 0:
        return 0.0  # nothing varies, so any difference at all is told apart
    low, high = 0.0, max(1e-6, math.sqrt(total))
    while power(spread, high, problems, seeds, level) < wanted:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(spread, middle, problems, seeds, level) >= wanted else (middle, high)
    return float(np.round(high, 6))


def _least(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number for which a condition holds that stays true once it is."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
