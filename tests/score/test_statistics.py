"""pass@k and the intervals: published and hand-computed points, and how often the intervals hold what they promise."""

from __future__ import annotations

import doctest
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.score import pass_at_k as pass_module
from codetune.score import statistics
from codetune.score.bleu import CONALA
from codetune.score.pass_at_k import pass_at_k, per_problem, usable_ks
from codetune.score.statistics import (
    bootstrap,
    mcnemar_p,
    mean_interval,
    paired_bootstrap,
    paired_difference,
    share,
    sign_flip_p,
    wilson_interval,
)


@pytest.mark.parametrize("module", [statistics, pass_module])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "c", "k", "expected"),
    [(10, 3, 5, 11 / 12), (20, 2, 10, 29 / 38), (200, 61, 10, 0.9762735183), (5, 0, 1, 0), (2, 1, 2, 1), (4, 4, 4, 1), (7, 3, 1, 3 / 7)],
)
def test_pass_at_k_vectors(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-10)


def test_pass_at_k_is_rounded_once_for_large_n() -> None:
    chance = Fraction(1)
    for drawn in range(1000):
        chance *= Fraction(20_000 - 7 - drawn, 20_000 - drawn)
    assert pass_at_k(20_000, 7, 1000) == float(1 - chance)


@given(st.integers(1, 60), st.data())
def test_pass_at_k_grows_with_k_and_c(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    assert k == n or pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1)
    assert c == n or pass_at_k(n, c, k) <= pass_at_k(n, c + 1, k)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_refuses_the_impossible(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


def test_problems_with_unequal_n() -> None:
    assert per_problem([(4, 2), (2, 1), (1, 0)], 1) == [0.5, 0.5, 0.0]
    assert usable_ks([(4, 2), (2, 1)], [10, 1, 2, 2]) == ([1, 2], [10])
    assert usable_ks([], [1]) == ([], [1])


def test_wilson_vector() -> None:
    found = wilson_interval(55, 164)
    assert (round(100 * found.low, 1), round(100 * found.high, 1)) == (26.8, 41.1)
    assert wilson_interval(0, 10).low == 0
    assert wilson_interval(0, 10).high == pytest.approx(0.2775, abs=5e-5)  # z²/(n+z²)
    assert wilson_interval(10, 10).low == pytest.approx(1 - 0.2775, abs=5e-5)


@given(st.integers(1, 400), st.data())
def test_wilson_holds_its_value_and_mirrors(n: int, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, n))
    found, mirror = wilson_interval(c, n), wilson_interval(n - c, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.low, found.high) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-12)
    outcomes = mean_interval([1] * c + [0] * (n - c))
    assert (outcomes.value, outcomes.low, outcomes.high) == pytest.approx((found.value, found.low, found.high), abs=1e-12)


def test_fractions_tell_more_than_coin_tosses() -> None:
    coarse, fine = mean_interval([0, 1] * 50), mean_interval([0.4, 0.6] * 50)
    assert fine.value == coarse.value == 0.5
    assert fine.high - fine.low < (coarse.high - coarse.low) / 4


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_mean_interval_is_bounded(values: list[float]) -> None:
    found = mean_interval(values)
    assert -1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1


def test_mcnemar_by_hand() -> None:
    assert mcnemar_p(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar_p(3, 3) == 1
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(2, 8) == mcnemar_p(8, 2)


def test_sign_flip_by_hand() -> None:
    assert sign_flip_p([0.1, 0.2, 0.3]) == 2 / 8  # only all plus and all minus are as extreme
    assert sign_flip_p([0.0, 0.0]) == 1
    assert sign_flip_p([0.5] * 40) == pytest.approx(1 / 10_001)
    assert sign_flip_p([0.5, -0.5] * 20) == 1


def test_paired_difference_of_outcomes_by_hand() -> None:
    first, second = [1] * 8 + [0] * 2 + [1] * 10, [0] * 8 + [1] * 2 + [1] * 10
    found = paired_difference(first, second)
    half = 1.959964 * math.sqrt((12 / 22 - (6 / 22) ** 2) / 22)  # 9 wins and 3 losses of 22 after adding one of each
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 6 / 22 - half, 6 / 22 + half), abs=1e-6)
    assert (found.wins, found.losses, found.p_value) == (8, 2, mcnemar_p(8, 2))


def test_paired_difference_of_fractions_is_students_t() -> None:
    found = paired_difference([0.2, 0.5, 0.9], [0.1, 0.3, 0.6])
    half = 4.302653 * 0.1 / math.sqrt(3)  # t with 2 degrees of freedom; the gaps .1 .2 .3 deviate by .1
    assert (found.low, found.value, found.high) == pytest.approx((0.2 - half, 0.2, 0.2 + half), abs=1e-6)


def test_systems_that_never_differ_still_have_an_interval() -> None:
    found = paired_difference([0] * 100, [0] * 100)
    assert found.p_value == 1
    assert found.low < 0 < found.high < 0.05
    found = paired_difference([0.5] * 100, [0.5] * 100)
    assert found.low < 0 < found.high < 0.05


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=20))
def test_swapping_the_systems_turns_the_sign(rows: list[tuple[int, int]]) -> None:
    first, second = [a / 4 for a, _ in rows], [b / 4 for _, b in rows]
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert (one.value, one.low, one.high, one.p_value) == pytest.approx((-other.value, -other.high, -other.low, other.p_value), abs=1e-9)
    assert (one.wins, one.losses) == (other.losses, other.wins)


def test_paired_interval_covers_what_it_claims() -> None:
    rng, covered, runs = np.random.default_rng(7), {"outcomes": 0, "fractions": 0}, 300
    for _ in range(runs):
        skill = rng.beta(0.5, 0.5, 60)  # problems are mostly easy or hard, as in real benchmarks
        better = 0.2 + 0.8 * skill
        one, other = rng.binomial(1, better), rng.binomial(1, skill)
        found = paired_difference(one, other)
        covered["outcomes"] += found.low <= 0.2 * 0.5 <= found.high
        one, other = rng.binomial(4, better) / 4, rng.binomial(4, skill) / 4
        found = paired_difference(one, other)
        covered["fractions"] += found.low <= 0.2 * 0.5 <= found.high
    assert 0.925 <= covered["outcomes"] / runs <= 0.985
    assert 0.925 <= covered["fractions"] / runs <= 0.985


PAIRS = [(f"f({number}, a{number % 3})", [f"f({number}, a{number % 2})"]) for number in range(40)]


def test_bleu_bootstrap() -> None:
    counts = CONALA.counts(PAIRS)
    found = bootstrap(counts, CONALA.score, resamples=500)
    assert found.value == float(CONALA.score(counts.sum(axis=0)))
    assert 0 < found.low < found.value < found.high < 1
    assert bootstrap(counts, CONALA.score, resamples=500) == found


def test_paired_bleu_bootstrap() -> None:
    counts, perfect = CONALA.counts(PAIRS), CONALA.counts([(references[0], references) for _, references in PAIRS])
    found = paired_bootstrap(perfect, counts, CONALA.score, resamples=500)
    assert 0 < found.low < found.value < found.high
    assert found.p_value < 0.01
    assert found.losses == 0
    same = paired_bootstrap(counts, counts, CONALA.score, resamples=500)
    assert (same.value, same.low, same.high, same.p_value, same.wins) == (0, 0, 0, 1, 0)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(successes: int, trials: int, low: float, high: float) -> None:
    found = wilson_interval(successes, trials)  # Newcombe 1998, table I, method 3
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@settings(deadline=None)  # the first call imports scipy.stats
@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.5, 0.99))
def test_wilson_and_mcnemar_equal_scipy(wins: int, losses: int, confidence: float) -> None:
    from scipy.stats import binomtest

    trials = wins + losses
    test = binomtest(wins, trials)
    assert mcnemar_p(wins, losses) == pytest.approx(test.pvalue, rel=1e-9)
    theirs, found = test.proportion_ci(confidence, method="wilson"), wilson_interval(wins, trials, confidence)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_students_t_and_the_sign_flips_equal_scipy() -> None:
    from scipy.stats import permutation_test, ttest_1samp

    gaps = np.array([0.25, -0.5, 0.75, 0.25, 0.5, -0.25, 0.125, 0.375])
    found = paired_difference(0.5 + gaps / 2, 0.5 - gaps / 2)
    interval = ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert found.p_value == pytest.approx(permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue)


def test_bootstrap_by_hand() -> None:
    # of two problems, one passed: the share is 0, 1/2, 1 with chances 1/4, 1/2, 1/4
    counts = np.array([[1.0, 1.0], [0.0, 1.0]])
    found = bootstrap(counts, share, confidence=0.4, resamples=20_000)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)  # 40% in the middle
    found = bootstrap(counts, share, confidence=0.6, resamples=20_000)
    assert (found.low, found.high) == (0, 1)


def test_samples_of_one_problem_are_drawn_together() -> None:
    # half of the problems pass all of 10 samples, half none: as uncertain as one sample each, not as ten times as many
    clustered = bootstrap(np.array([[10.0, 10.0], [0.0, 10.0]] * 20), share)
    single = bootstrap(np.array([[1.0, 1.0], [0.0, 1.0]] * 20), share)
    assert (clustered.low, clustered.high) == (single.low, single.high)
    assert clustered.high - clustered.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(40), rel=0.1)
    assert mean_interval(per_problem([(10, 10), (10, 0)] * 20, 1)) == mean_interval([1, 0] * 20)


def test_paired_bootstrap_of_unequal_numbers_of_samples_by_hand() -> None:
    first, second = np.array([[3.0, 4.0], [1.0, 2.0]]), np.array([[2.0, 4.0], [0.0, 2.0]])
    found = paired_bootstrap(first, second, share, confidence=0.6, resamples=20_000)
    # gaps of the resamples: both problems 4/6 - 2/6; the first twice 3/4 - 2/4; the second twice 1/2 - 0
    assert (found.value, found.low, found.high) == pytest.approx((1 / 3, 1 / 4, 1 / 2))
    assert (found.wins, found.losses) == (2, 0)


def test_mistaken_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="same ones"):
        paired_difference([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match="same problems"):
        paired_bootstrap(np.zeros((3, 14)), np.zeros((4, 14)), CONALA.score)
    with pytest.raises(ValueError, match="one finite number"):
        mean_interval([0.5, math.nan])
    with pytest.raises(ValueError, match=r"0\.\.1"):
        mean_interval([0.5, 50])
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(3, 2)
