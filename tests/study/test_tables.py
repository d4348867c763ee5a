"""Numbers as people read them: the digits, the units, and what is not a number."""

import doctest
import math

import pytest

from codetune.study import plots, rendering, tables


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (21_000, "21 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (9_949_999, "9.9 MB"),
     (9_950_000, "10 MB"), (2_310_000_000, "2.3 GB"), (139e9, "139 GB"), (5e15, "5.0 PB"), (5e18, "5000 PB")],
)  # fmt: skip
def test_bytes(count, text):
    assert tables.format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (192, "3 min 12 s"), (3599.4, "59 min 59 s"),
     (3599.6, "1 h 0 min"), (3629, "1 h 0 min"), (86_400, "24 h 0 min")],
)  # fmt: skip
def test_seconds(seconds, text):
    assert tables.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1, "100%"), (0.9999, "100%"), (0.5, "50.0%"), (0.0186, "1.86%"), (0.00047, "0.0470%"), (1.23e-5, "0.00123%")],
)
def test_shares_that_may_be_tiny(share, text):
    assert tables.format_small_percent(share) == text


def test_points_carry_their_sign_and_zero_has_none():
    assert [tables.format_points(x) for x in (0.8431, -0.02, 0.0, -0.0001)] == ["+84.3", "−2.0", "0.0", "0.0"]


def test_an_interval_below_zero_uses_the_same_minus():
    assert tables.format_interval(-0.013, 0.046) == "−1.3 to 4.6"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize(
    "write",
    [getattr(tables, name) for name in dir(tables) if name.startswith("format_") and name != "format_interval"],
)
def test_what_was_not_measured_is_a_dash(write, value):
    assert write(value) == tables.MISSING


@pytest.mark.parametrize("module", [tables, plots, rendering])
def test_the_examples_in_docstrings_hold(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
