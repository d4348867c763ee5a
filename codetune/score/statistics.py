"""How sure a score of one run is: intervals and paired differences over problems, as pure functions.

The unit is always the problem: n samples of one problem are averaged first, since they are not independent. Which interval
where, and why:

- one system, values in 0..1 (`mean_interval`): Wilson's score interval. It never leaves 0..1 and does not shrink to a point
  when every problem fails or passes, where Student's t and the bootstrap do.
- two systems on the same problems (`paired_difference`): for 0/1 outcomes Bonett and Price's interval and McNemar's exact
  test, for other values Student's t on the differences and a sign-flip test.
- several training seeds: problems crossed with seeds, in `codetune.score.crossed`.
- corpus metrics such as BLEU, which are no means (`bootstrap`, `paired_bootstrap`): percentile bootstrap over problems. With
  `share` as the statistic it also serves outcomes, with all samples of a problem drawn together.

>>> wilson_interval(55, 164).percent()
'33.5 [26.8, 41.1]'
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]  # summed rows of counts, shape (..., columns) -> (...)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval at the confidence asked for; `method` names the rule, for the report."""

    value: float
    low: float
    high: float
    method: str

    def percent(self) -> str:
        """As in a table: value [low, high], times 100."""
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True, slots=True)
class Difference:
    """First system minus second, with interval and two-sided p-value; wins and losses count problems."""

    value: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    method: str


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> Estimate:
    """Wilson's score interval (1927) of a proportion. Raises ValueError unless 0 <= successes <= trials and trials > 0."""
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} successes of {trials} trials")
    share = successes / trials
    return Estimate(share, *score_interval(share, trials, _normal_quantile(confidence)), "Wilson")


def score_interval(share: float, trials: float, quantile: float) -> tuple[float, float]:
    """All shares that one of so many trials is within `quantile` standard errors of: Wilson's interval, where it is the normal one."""
    q2 = quantile * quantile
    middle = share + q2 / (2 * trials)
    half = quantile * math.sqrt(share * (1 - share) / trials + q2 / (4 * trials * trials))
    scale = 1 + q2 / trials
    low, high = max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
    return min(share, low), max(share, high)  # rounding must not put the share outside


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Estimate:
    """The mean of one value in 0..1 per problem, such as pass@k, with Wilson's interval at the effective number of trials.

    That number is p(1-p) / (variance of the mean): values between 0 and 1 spread less than coin tosses of the same mean, so
    they tell more. For 0/1 outcomes it is the number of problems, hence plain Wilson.
    """
    data = _column(values)
    if data.min() < 0 or data.max() > 1:
        raise ValueError(f"values from {data.min()} to {data.max()}: expected 0..1")
    mean, variance = math.fsum(data) / len(data), float(data.var())
    if variance > 1e-15:
        trials = len(data) * mean * (1 - mean) / variance
        found = wilson_interval(mean * trials, trials, confidence)
        low, high = found.low, found.high
    else:
        half = half_without_spread(len(data), confidence)
        low, high = max(0.0, mean - half), min(1.0, mean + half)
    return Estimate(mean, low, high, "Wilson over problems")


def paired_difference(first: ArrayLike, second: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Difference:
    """Mean difference of two systems over the same problems in the same order; values in 0..1.

    0/1 outcomes: Bonett and Price (2012), which is the normal interval after adding one win and one loss, so that it has a
    width even where the systems never differ; p-value of McNemar's exact test. Other values: Student's t; p-value of the
    sign-flip test (`seed` where the flips are sampled). Raises ValueError for unequal lengths or fewer than two problems.
    """
    a, b = _column(first), _column(second)
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} problems: expected the same ones, at least 2")
    gaps = a - b
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    if np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all():
        centre = float(gaps.sum()) / (len(gaps) + 2)
        half = _normal_quantile(confidence) * math.sqrt(((wins + losses + 2) / (len(gaps) + 2) - centre**2) / (len(gaps) + 2))
        p_value, method = mcnemar_p(wins, losses), "Bonett-Price; McNemar exact"
    else:
        centre = float(gaps.mean())
        spread = float(gaps.std(ddof=1))
        student = t_quantile(confidence, len(gaps) - 1) * spread / math.sqrt(len(gaps))
        half = student if spread > 1e-12 else half_without_spread(len(gaps), confidence)
        p_value, method = sign_flip_p(gaps, seed=seed), "Student's t; sign-flip"
    return Difference(float(gaps.mean()), max(-1.0, centre - half), min(1.0, centre + half), p_value, wins, losses, method)


def mcnemar_p(wins: int, losses: int) -> float:
    """Two-sided exact McNemar test: the chance of a split at least this uneven, were each discordant problem a fair coin."""
    total = wins + losses
    tail = sum(math.comb(total, count) for count in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / (1 << total))


def sign_flip_p(gaps: ArrayLike, flips: int = 10_000, seed: int = 0) -> float:
    """Two-sided permutation test that the differences are symmetric about 0: exact up to 12 of them, else from `flips` samples."""
    data = _column(gaps)
    data = data[data != 0]
    if not len(data):
        return 1.0
    if len(data) <= 12:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(data))))
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, size=(flips, len(data)), dtype=np.int8)
        signs = np.vstack([np.ones(len(data)), 2.0 * drawn - 1])  # what was seen is one of the permutations
    sums = np.abs(signs @ data)
    return float((sums >= abs(data.sum()) - 1e-12).mean())


def bootstrap(counts: Array, statistic: Statistic, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """A corpus metric with its percentile interval over problems; `counts` has one row of summable counts per problem.

    With several samples per problem add their rows first. For BLEU: `bootstrap(CONALA.counts(pairs), CONALA.score)`.
    """
    found = statistic(resampled_sums(len(counts), resamples, seed) @ counts)
    low, high = percentiles(found, confidence)
    return Estimate(float(statistic(counts.sum(axis=0))), low, high, f"bootstrap over problems, {resamples} resamples")


def paired_bootstrap(
    first: Array, second: Array, statistic: Statistic, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Difference:
    """Difference of a corpus metric of two systems over the same problems (Koehn 2004): both see the same resamples.

    The p-value is the share of resamples whose difference strays from the observed one by at least as much as that is from 0.
    Wins and losses compare the metric problem by problem. Raises ValueError for unequal shapes.
    """
    if first.shape != second.shape:
        raise ValueError(f"counts of shapes {first.shape} and {second.shape}: expected the same problems")
    weights = resampled_sums(len(first), resamples, seed)
    gaps = statistic(weights @ first) - statistic(weights @ second)
    value = float(statistic(first.sum(axis=0)) - statistic(second.sum(axis=0)))
    low, high = percentiles(gaps, confidence)
    p_value = (1 + int((np.abs(gaps - value) >= abs(value)).sum())) / (1 + resamples)
    each = statistic(first) - statistic(second)
    method = f"paired bootstrap over problems, {resamples} resamples"
    return Difference(value, low, high, p_value, int((each > 0).sum()), int((each < 0).sum()), method)


def share(counts: Array) -> Array:
    """Passed over all of summed rows of (passed, samples), shape (..., 2) -> (...): a statistic for the bootstraps."""
    return np.asarray(counts[..., 0] / counts[..., 1])


@functools.lru_cache(maxsize=2)
def resampled_sums(problems: int, resamples: int, seed: int) -> Array:
    """How often each problem is drawn, shape (resamples, problems): times the counts it gives the resampled sums."""
    drawn = np.random.default_rng(seed).multinomial(problems, np.full(problems, 1 / problems), size=resamples).astype(np.float64)
    drawn.flags.writeable = False  # the next pair of rows gets the same
    return drawn


def percentiles(values: Array, confidence: float) -> tuple[float, float]:
    """The middle share of resampled values."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _column(values: ArrayLike) -> Array:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not np.isfinite(data).all():
        raise ValueError(f"values of shape {data.shape}: expected one finite number per problem")
    return data


def half_without_spread(problems: int, confidence: float) -> float:
    """How far Wilson's interval reaches from a share of 0: equal outcomes everywhere are not certainty."""
    z2 = _normal_quantile(confidence) ** 2
    return z2 / (problems + z2)


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def t_quantile(confidence: float, freedom: float) -> float:
    """How many standard errors reach as far as `confidence` of Student's t, on both sides together."""
    from scipy.special import stdtrit  # a quarter of a second to import, and only some intervals need it

    return float(stdtrit(freedom, (1 + confidence) / 2))
