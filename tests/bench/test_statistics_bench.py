"""The simulation: rates are what it says, intervals of some hundred studies cover, a false difference is rare, a lapse is marked."""

from __future__ import annotations

import numpy as np
import pytest

from bench.simulated import Setting, outcomes, text_counts
from bench.statistics import COVERAGE, FALSE, Found, line, settings, simulate, simulate_texts, summary
from codetune.score.bleu import CONALA


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.95])
def test_rows_pass_as_often_as_they_are_said_to(rate: float) -> None:
    rows = outcomes(Setting(3, 200, (rate, rate), 0.4), 400, np.random.default_rng(1))
    assert [row.shape for row in rows] == [(400, 1, 200), (400, 3, 200)]
    assert [row.mean() for row in rows] == pytest.approx([rate, rate], abs=0.012)


def test_seeds_differ_as_much_as_they_are_said_to() -> None:
    setting = Setting(20, 4000, (0.3, 0.3), 0.4)
    _, tuned = outcomes(setting, 8, np.random.default_rng(2))
    assert float(tuned.mean(axis=2).std(axis=1, ddof=1).mean()) == pytest.approx(setting.seed_points, rel=0.15)


@pytest.mark.parametrize(("rate", "spread"), [(0.05, 0.2), (0.3, 0.4)])
def test_intervals_of_simulated_studies_cover_and_false_differences_are_rare(rate: float, spread: float) -> None:
    found = simulate(Setting(3, 100, (rate,) * 5, spread), 150, 7)
    assert found.holds, line(found)  # the same bounds as of the thousand studies of `python -m bench statistics`
    assert COVERAGE[0] <= found.pairs <= COVERAGE[1]
    assert found.false <= FALSE


def test_one_seed_promises_less_than_it_may_seem() -> None:
    found = simulate(Setting(1, 300, (0.3,) * 5, 0.4), 60, 7)
    assert found.pairs < COVERAGE[0]  # about these runs only: another seed is not in the interval


def test_simulated_texts_have_whole_counts_and_a_bleu() -> None:
    counts = text_counts(3, 50, 0.0, 0.2, np.random.default_rng(3))
    assert counts.shape == (3, 50, 14)
    assert (counts[..., 0] <= counts[..., 4]).all()
    assert (counts[..., 3] <= counts[..., 2]).all()
    assert ((CONALA.score(counts.sum(axis=1)) > 0.05) & (CONALA.score(counts.sum(axis=1)) < 0.6)).all()
    found = simulate_texts(3, 60, 1.0, 0.2, 40, 1)
    assert found.means > 0.8
    assert found.pairs > 0.8


def test_what_does_not_hold_is_marked() -> None:
    good = Found("equal", 3, 100, "30%", 0.02, 1000, 0.95, 0.95, 0.95, 0.02, 0.01)
    bad = Found("equal", 3, 100, "30%", 0.02, 1000, 0.95, 0.99, 0.95, 0.07, 0.01)
    assert good.holds
    assert not bad.holds
    assert "does not hold" in line(bad)
    assert "cover 95.0 to 99.0%" in summary([good, bad])
    assert len({setting.seeds for setting in settings()}) == 3
