"""Corrections, groups, power and agreement at published and hand-computed points."""

from __future__ import annotations

import doctest
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.score import comparisons
from codetune.score.agreement import Array, Programs, point_biserial, ranked, spearman, systems, within_problems, wrong_preference
from codetune.score.comparisons import groups, holm, letters
from codetune.score.power import PairSpread, RowSpread, power, problems_needed, seeds_needed, smallest_difference


def test_doctests() -> None:
    assert doctest.testmod(comparisons).failed == 0


def test_holm_by_hand() -> None:
    # 6 * .010, 5 * .013, 4 * .014 (less than the one before, which stands), 3 * .19, 2 * .35, 1 * .5 (the same)
    assert holm([0.010, 0.013, 0.014, 0.190, 0.350, 0.500]) == pytest.approx([0.060, 0.065, 0.065, 0.570, 0.700, 0.700])
    assert holm([]) == []
    assert holm([0.04]) == [0.04]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_nothing_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= c <= min(1, len(p_values) * p) + 1e-12 for p, c in zip(p_values, corrected, strict=True))


def test_letters_by_hand() -> None:
    # a is told from c, d, e; b from d, e; c from e
    apart = {frozenset(pair): True for pair in ("ac", "ad", "ae", "bd", "be", "ce")}
    sets = groups("abcde", apart)
    assert sets == [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e")]
    assert letters("abcde", sets) == {"a": "a", "b": "ab", "c": "bc", "d": "cd", "e": "d"}
    assert groups("abc", {}) == [("a", "b", "c")]
    assert groups("ab", {frozenset("ab"): True}) == [("a",), ("b",)]


@settings(deadline=None)
@given(st.integers(1, 7), st.data())
def test_two_names_share_a_letter_exactly_where_they_are_not_told_apart(number: int, data: st.DataObject) -> None:
    names = "abcdefg"[:number]
    apart = {frozenset(pair): data.draw(st.booleans()) for pair in combinations(names, 2)}
    sets = groups(names, apart)
    of = letters(names, sets)
    assert all(of.values())
    assert all((not set(of[a]) & set(of[b])) == apart[frozenset((a, b))] for a, b in combinations(names, 2))
    assert not any(set(one) < set(other) for one in sets for other in sets)


def test_power_of_two_runs_is_that_of_the_paired_t_test() -> None:
    # Cohen 1988: an effect of half a standard deviation, two-sided .05, is found with 80% by 34 pairs; by 44 with 90%
    spread = PairSpread(1.0, ())
    assert problems_needed(spread, 0.5, seeds=1) == 34
    assert problems_needed(spread, 0.5, seeds=1, wanted=0.9) == 44
    assert power(spread, 0.5, 34, 1) == pytest.approx(0.808, abs=1e-3)
    assert seeds_needed(spread, 0.5, 34) is None  # one run each: what seeds do is not known


def test_far_from_nothing_the_few_degrees_of_freedom_still_count() -> None:
    # two seeds each and nothing but seeds: where the caution counts in full there are 2 degrees of freedom, which ask 31.6 errors at .001
    spread = PairSpread(0.0, (RowSpread(1.0, 0.0), RowSpread(1.0, 0.0)))
    near, far = power(spread, 29.99, 100, 2, level=0.001), power(spread, 30.01, 100, 2, level=0.001)
    assert near == pytest.approx(far, abs=0.01)
    # chi-square of 2 degrees below 2 (30 / 31.6)² is 1 - exp(-(30 / 31.6)²)
    assert far == pytest.approx(1 - np.exp(-((30.01 / 31.599) ** 2)), abs=1e-3)


def test_power_with_seeds_by_the_normal_formula() -> None:
    # problems enough that seeds are all that varies: (z.975 + z.8)² (0.02² + 0.02²) / 0.02² = 15.7 seeds, and one or two for t
    spread = PairSpread(0.2, (RowSpread(0.02**2, 0.1), RowSpread(0.02**2, 0.1)))
    needed = seeds_needed(spread, 0.02, 1_000_000)
    assert needed is not None
    assert 16 <= needed <= 18
    assert problems_needed(spread, 0.02, seeds=3) is None
    more, fewer = problems_needed(spread, 0.05, seeds=5), problems_needed(spread, 0.05, seeds=10)
    assert more is not None
    assert fewer is not None
    assert fewer < more
    smallest = smallest_difference(spread, more, 5)
    assert smallest == pytest.approx(0.05, rel=0.01)


def test_spreads_are_found_again_in_simulated_rows() -> None:
    random, problems = np.random.default_rng(5), 20_000

    def row() -> Array:
        return random.normal(0, 0.5, (1, problems)) + random.normal(0, 0.3, (6, 1)) + random.normal(0, 0.7, (6, problems))

    spread = PairSpread.of(row(), row())
    assert spread.problems == pytest.approx(2 * 0.5**2, rel=0.05)
    assert [one.rest for one in spread.rows] == pytest.approx([0.49, 0.49], rel=0.05)
    assert 0.01 < spread.rows[0].seeds < 0.4


def programs(rows: list[tuple[int, float, int]]) -> Programs:
    problem, metric, passed = zip(*rows, strict=True)
    return Programs(np.array(problem), np.array(metric, dtype=float), np.array(passed, dtype=float))


def test_wrong_preference_by_hand() -> None:
    # problem 0: 1 of 2 pairs wrong; problem 1: one tie; problem 2 has no failing program; problem 3: 2 of 2 wrong
    found = wrong_preference(programs([
        (0, 0.9, 0), (0, 0.5, 1), (0, 0.1, 0), (1, 0.3, 0), (1, 0.3, 1), (2, 0.8, 1), (3, 0.2, 1), (3, 0.4, 0), (3, 0.6, 0),
    ]))  # fmt: skip
    assert found is not None
    assert (found.share, found.ties, found.pairs, found.problems) == (pytest.approx(0.5), pytest.approx(1 / 3), 5, 3)
    assert (found.low, found.high) == (pytest.approx(0.1607, abs=1e-4), pytest.approx(0.8393, abs=1e-4))  # Wilson's of .5 at 4.5 trials
    assert wrong_preference(programs([(0, 0.9, 1), (1, 0.5, 0)])) is None


def test_correlations_equal_scipy() -> None:
    from scipy import stats

    random = np.random.default_rng(2)
    x, y = np.round(random.random(60), 1), (random.random(60) < 0.4).astype(float)
    some = Programs(np.arange(60) // 3, x, y)
    pearson, ranks = point_biserial(some), spearman(some)
    assert pearson is not None
    assert ranks is not None
    assert pearson.value == pytest.approx(stats.pointbiserialr(y, x).statistic)
    assert ranks.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert pearson.low < pearson.value < pearson.high
    assert ranks.low < ranks.value < ranks.high
    assert ranked(x).tolist() == (stats.rankdata(x) - 1).tolist()
    assert point_biserial(Programs(np.arange(60), x, np.ones(60))) is None


def test_within_problems_leaves_out_how_hard_a_problem_is() -> None:
    # the metric only follows the problem: between problems it agrees with passing, within one it says nothing, or the opposite
    verdicts = {problem: [0] * (10 - problem) + [1] * problem for problem in range(10)}
    rows = [(problem, problem / 10 + (0.01 if passed else 0.02), passed) for problem, found in verdicts.items() for passed in found]
    some = programs(rows)
    overall, within = point_biserial(some), within_problems(some)
    assert overall is not None
    assert within is not None
    assert overall.value > 0.4
    assert within.value == pytest.approx(-1)
    assert within.count == 9  # problem 0 has no passing program


def test_systems_by_hand() -> None:
    metric, passed = np.array([[0.1, 0.3], [0.2, 0.4], [0.9, 0.1]]), np.array([[0, 0], [0, 1], [1, 1]], dtype=float)
    found = systems(metric, passed)
    assert found is not None
    # means .2 .3 .5 and 0 .5 1, deviations -2/15 -1/30 1/6 and -1/2 0 1/2
    assert found.value == pytest.approx((2 / 30 + 1 / 12) / np.sqrt((4 / 225 + 1 / 900 + 1 / 36) / 2))
    assert systems(metric, passed, ranks=True).value == 1  # type: ignore[union-attr]
    assert systems(metric[:2], passed[:2]) is None
