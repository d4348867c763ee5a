"""Scores of several seeds: the variance by hand, the test that belongs to it, rows of one run, the crossed bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from codetune.score.crossed import (
    PSEUDO,
    SEED_CAUTION,
    crossed_bootstrap,
    crossed_difference,
    crossed_interval,
)
from codetune.score.statistics import share, wilson_interval

UNBOUNDED = (-1000, 1000)


def test_an_interval_by_hand() -> None:
    # mean squares: problems 4, seeds 9, rest 1; variance (4 + 9 - 1) / 4; freedom 12² / (4² + 9² + 1²)
    found = crossed_interval([[1, 2], [3, 6]], bounds=UNBOUNDED)
    half = stdtrit(144 / 98, 0.975) * math.sqrt(3)
    assert (found.low, found.value, found.high) == pytest.approx((3 - half, 3, 3 + half))


def test_a_difference_by_hand() -> None:
    # the first row is the table above, the second the same twice: gaps of problems' means -1, 1 (variance 2, of the mean 1)
    first, second = [[1.0, 2.0], [3.0, 6.0]], [[3.0, 3.0], [3.0, 3.0]]
    found = crossed_difference(first, second, bounds=UNBOUNDED)
    # seeds of the first: mean square 9 of 4 values; rest 1 of 4; the second row's seeds do not vary
    variance, squares = 1 + 9 / 4 - 1 / 4, 1**2 / 1 + (9 / 4) ** 2 / 1 + (1 / 4) ** 2 / 1
    half = stdtrit(variance**2 / squares, 0.975) * math.sqrt(variance)
    assert (found.low, found.value, found.high) == pytest.approx((-half, 0, half))
    assert (found.wins, found.losses, found.p_value) == (1, 1, 1.0)


def test_the_p_value_is_of_the_same_variance_with_fewer_degrees_of_freedom() -> None:
    first, second = [[3.0, 4.0], [5.0, 8.0]], [[3.0, 3.0], [3.0, 3.0]]
    found = crossed_difference(first, second, bounds=UNBOUNDED)
    careful = (1 + SEED_CAUTION * 9 / 4 - 1 / 4) ** 2 / (1 + (SEED_CAUTION * 9 / 4) ** 2 + 1 / 16)
    assert found.value == 2
    assert found.p_value == pytest.approx(2 * stdtr(careful, -2 / math.sqrt(3)))
    turned = crossed_difference(second, first, bounds=UNBOUNDED)
    assert (turned.value, turned.low, turned.high, turned.p_value) == (-found.value, -found.high, -found.low, found.p_value)


def test_rates_have_wilsons_interval_with_t_at_the_effective_number_of_trials() -> None:
    table = np.array([[1, 1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1, 0], [1, 1, 0, 1, 0, 0, 1, 0]], dtype=float)
    found, plain = crossed_interval(table), crossed_interval(table, bounds=UNBOUNDED)
    half = (plain.high - plain.low) / 2  # t standard errors; the ends of a score interval are where these reach the mean
    of_variance = half**2 / (found.value * (1 - found.value))
    for end in (found.low, found.high):
        assert (end - found.value) ** 2 == pytest.approx(of_variance * end * (1 - end))
    assert 0 < found.low < found.value < found.high < 1


def test_without_spread_or_with_one_seed() -> None:
    found = crossed_interval(np.zeros((3, 100)))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(wilson_interval(0, 100).high)
    same = crossed_difference(np.ones((3, 100)), np.ones((3, 100)))
    assert same.p_value == 1
    assert same.low < 0 < same.high < 0.05
    assert crossed_difference(np.ones((3, 100)), np.zeros((1, 100))).p_value < 1e-4
    with pytest.raises(ValueError, match="at least 2 of each"):
        crossed_interval([[0, 1, 1]])
    with pytest.raises(ValueError, match="several runs"):
        crossed_difference([[0, 1, 1]], [[1, 1, 0]])
    with pytest.raises(ValueError, match="same problems"):
        crossed_difference([[0, 1, 1], [0, 1, 1]], [[1, 1], [0, 1]])


def test_a_row_of_one_run_is_taken_as_it_is_with_a_third_of_a_win_and_of_a_loss() -> None:
    # seeds of the tuned row agree on every problem, so all that varies is problems: Bonett and Price with PSEUDO in place of 1
    tuned, base = np.array([[1.0] * 6 + [0.0] * 14] * 3), np.array([[0.0] * 5 + [1.0] * 3 + [0.0] * 12])
    found = crossed_difference(tuned, base)  # 5 wins, 2 losses
    centre = 3 / 22
    variance = (7 + 2 * PSEUDO**2 - 22 * centre**2) / 21 / 22
    plain = 3 / 20
    plain_variance = (7 - 20 * plain**2) / 19 / 20
    half = stdtrit(19, 0.975) * math.sqrt(max(variance, plain_variance))
    assert (found.value, found.low, found.high) == pytest.approx((plain, centre - half, centre + half))
    assert (found.wins, found.losses) == (5, 2)


def test_the_crossed_bootstrap_by_hand() -> None:
    # two runs of two problems, one run passes both, the other none: the share is that of passing runs drawn, 0, 1/2, 1 at 1/4, 1/2, 1/4
    counts = np.array([[[1.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    found = crossed_bootstrap(counts, share, confidence=0.4, resamples=20_000)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    found = crossed_bootstrap(counts, share, confidence=0.6, resamples=20_000)
    assert (found.low, found.high) == (0, 1)
