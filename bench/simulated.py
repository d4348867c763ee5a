"""Studies that never were: outcomes of problems crossed with seeds whose true pass rates are known, and texts with a known BLEU.

An outcome is a coin toss with a logit: the row's level, how hard the problem is (sd 2.5: most problems nearly always pass or fail), what
the row finds hard about it (sd 1), the seed's level (sd given), and what that seed finds hard (sd 1). The level is set so that the mean
over all problems and seeds is exactly the rate asked for. A base model has one run and no seed.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

Array = NDArray[np.float64]

DIFFICULTY, ROW_BY_PROBLEM, SEED_BY_PROBLEM = 2.5, 1.0, 1.0
LONGEST = 40  # tokens of a simulated text
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(201)


@dataclass(frozen=True, slots=True)
class Setting:
    """A kind of study: the first rate is the base model's, `seed_spread` is in logits."""

    seeds: int
    problems: int
    rates: tuple[float, ...]
    seed_spread: float

    @property
    def equal(self) -> bool:
        return len(set(self.rates)) == 1

    @property
    def seed_points(self) -> float:
        """Standard deviation of the last row's pass rate between seeds, on endless problems, in 0..1."""
        others = np.sqrt(DIFFICULTY**2 + ROW_BY_PROBLEM**2 + SEED_BY_PROBLEM**2)
        level = _level(self.rates[-1], float(np.hypot(others, self.seed_spread)))
        by_seed = (expit(level + self.seed_spread * _NODES[:, None] + others * _NODES) * _WEIGHTS).sum(axis=1) / _WEIGHTS.sum()
        mean = (by_seed * _WEIGHTS).sum() / _WEIGHTS.sum()
        return float(np.sqrt(((by_seed - mean) ** 2 * _WEIGHTS).sum() / _WEIGHTS.sum()))


def outcomes(setting: Setting, studies: int, random: np.random.Generator) -> list[Array]:
    """For each row 0/1 outcomes of shape (studies, runs, problems)."""
    hard = random.normal(0, DIFFICULTY, (studies, 1, setting.problems))
    rows = []
    for number, rate in enumerate(setting.rates):
        runs, spread = (1, 0.0) if number == 0 else (setting.seeds, setting.seed_spread)
        level = _level(rate, float(np.sqrt(DIFFICULTY**2 + ROW_BY_PROBLEM**2 + SEED_BY_PROBLEM**2 + spread**2)))
        logits = random.normal(0, SEED_BY_PROBLEM, (studies, runs, setting.problems))
        logits += hard + random.normal(0, ROW_BY_PROBLEM, (studies, 1, setting.problems))
        logits += level + spread * random.normal(0, 1, (studies, runs, 1))
        rows.append((random.random(logits.shape) < expit(logits)).astype(np.float64))
    return rows


def text_counts(seeds: int, problems: int, level: float, seed_spread: float, random: np.random.Generator) -> Array:
    """BLEU counts (seeds, problems, 14) of texts whose tokens are right with a logit of such a level, in one place as in the next."""
    reference = np.clip(random.gamma(3, 4, problems).astype(int) + 3, 4, LONGEST)
    written = np.clip((reference * np.exp(random.normal(0, 0.25, (seeds, problems)))).astype(int), 1, LONGEST)
    logits = level + random.normal(0, 1.5, problems) + random.normal(0, 0.7, (seeds, problems))
    logits += seed_spread * random.normal(0, 1, (seeds, 1))
    right = random.random((seeds, problems, LONGEST)) < expit(logits)[..., None]
    right &= np.arange(LONGEST) < np.minimum(written, reference)[..., None]
    counts = np.zeros((seeds, problems, 14))
    window = right
    for order in range(4):
        counts[..., order] = window.sum(axis=-1)
        counts[..., 4 + order] = np.maximum(written - order, 0)
        counts[..., 8 + order] = np.maximum(reference - order, 0)
        window = window[..., :-1] & right[..., order + 1 :]
    counts[..., 12], counts[..., 13] = written, reference
    return counts


@functools.cache
def _level(rate: float, spread: float) -> float:
    """The logit whose mean pass rate over normal spread is `rate`."""
    return float(brentq(lambda level: (expit(level + spread * _NODES) * _WEIGHTS).sum() / _WEIGHTS.sum() - rate, -40, 40))
