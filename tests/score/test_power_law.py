"""Fitted laws give back what made the points, with published laws among them, and refuse what no law explains."""

import numpy as np
import pytest

from codetune.score.power_law import NoLaw, PowerLaw, fit_power_law


def test_exact_points_give_the_three_parameters_back():
    sizes = np.array([250, 1000, 4000, 16000, 64000])
    law = fit_power_law(sizes, 12.5 * sizes**-0.42 + 0.31)
    assert isinstance(law, PowerLaw)
    assert (law.a, law.b, law.c) == pytest.approx((12.5, 0.42, 0.31), rel=1e-6)
    assert law.b_interval == pytest.approx((0.42, 0.42), abs=1e-5)
    np.testing.assert_allclose(law.at(sizes), 12.5 * sizes**-0.42 + 0.31, rtol=1e-8)


def test_four_points_are_enough_for_three_parameters():
    sizes = np.array([1e3, 4e3, 1.6e4, 6.4e4])
    law = fit_power_law(sizes, 5 * sizes**-0.3 + 0.8)
    assert (law.a, law.b, law.c) == pytest.approx((5, 0.3, 0.8), rel=1e-5)


def test_the_law_of_hoffmann_et_al():
    """L(N) = 406.4 / N^0.34 + 1.69, their fit at unlimited data (arXiv:2203.15556), at sizes in the range of their models."""
    sizes = np.array([44e6, 140e6, 425e6, 1016e6, 2639e6, 7452e6, 16183e6])
    law = fit_power_law(sizes, 406.4 / sizes**0.34 + 1.69)
    assert (law.a, law.b, law.c) == pytest.approx((406.4, 0.34, 1.69), rel=1e-4)


def test_the_law_of_kaplan_et_al_has_no_constant():
    """L(N) = (8.8e13 / N)^0.076 (arXiv:2001.08361, equation 1.1)."""
    sizes = np.array([768e3, 3e6, 25e6, 85e6, 302e6, 1.5e9])
    law = fit_power_law(sizes, (8.8e13 / sizes) ** 0.076)
    assert law.c is None
    assert law.note == "the best constant is 0"
    assert (law.a, law.b) == pytest.approx((8.8e13**0.076, 0.076), rel=1e-6)


def test_three_sizes_give_two_parameters_by_hand():
    law = fit_power_law([100, 1000, 10000], [4, 2, 1])
    assert (law.a, law.b, law.c) == (pytest.approx(16), pytest.approx(np.log10(2)), None)


def test_intervals_widen_with_noise_and_cover_the_exponent():
    """Of 200 noisy sets of three sizes and three runs each, about 95% of the intervals have the exponent that made them."""
    random = np.random.default_rng(5)
    sizes = np.repeat([250.0, 1000.0, 4000.0], 3)
    laws = [fit_power_law(sizes, 9 * sizes**-0.25 * np.exp(random.normal(0, 0.04, 9))) for _ in range(200)]
    kept = [law for law in laws if isinstance(law, PowerLaw)]
    assert len(kept) > 180  # the lack-of-fit test refuses about one in twenty
    covered = sum(law.b_interval[0] <= 0.25 <= law.b_interval[1] for law in kept) / len(kept)
    assert 0.91 <= covered <= 1.0


@pytest.mark.parametrize(
    ("sizes", "losses", "why"),
    [
        ([100, 1000, 1000], [3, 2, 2], "2 sizes of the 3"),
        ([100], [3], "1 size of the 3"),
        ([100, 150, 200], [3, 2.5, 2], "span a factor of 2.0"),
        ([100, 1000, 10000], [1, 2, 4], "does not fall"),
        ([100, 1000, 10000], [1, 0.5, 0], "not a positive number"),
        ([100, 1000, 10000], [1, float("nan"), 0.2], "not a positive number"),
        ([100, 100, 1000, 1000, 10000, 10000], [4, 4.01, 1, 1.01, 0.9, 0.91], "lack of fit"),
    ],
)
def test_what_is_no_law_is_refused_with_its_reason(sizes, losses, why):
    found = fit_power_law(sizes, losses)
    assert isinstance(found, NoLaw)
    assert why in found.why


def test_lists_of_different_lengths_are_a_mistake():
    with pytest.raises(ValueError, match="one loss for each size"):
        fit_power_law([1, 2, 3], [1, 2])
