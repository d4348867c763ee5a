"""Learning-rate schedules at points computed by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.config import TrainConfig
from codetune.train.schedule import constant, cosine, learning_rate_share, linear, warmup


def test_warmup_climbs_to_the_peak_and_never_starts_at_zero() -> None:
    assert [warmup(step, 4) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert warmup(0, 0) == 1


def test_cosine() -> None:
    """Two steps of warm-up, then half a cosine over steps 2 to 6: cos 0, 45, 90, 135 and 180 degrees."""
    half = math.sqrt(0.5)
    wanted = [1 / 3, 2 / 3, 1, 0.1 + 0.45 * (1 + half), 0.55, 0.1 + 0.45 * (1 - half), 0.1]
    assert [cosine(step, 2, 7, 0.1) for step in range(7)] == pytest.approx(wanted)


def test_linear() -> None:
    assert [linear(step, 1, 6, 0.2) for step in range(6)] == pytest.approx([0.5, 1, 0.8, 0.6, 0.4, 0.2])


def test_constant() -> None:
    assert [constant(step, 1) for step in range(4)] == [0.5, 1, 1, 1]


def test_the_recipe_chooses() -> None:
    at = {"warmup_share": 0.2, "final_lr_share": 0.0}
    assert learning_rate_share(TrainConfig(schedule="linear", **at), 9, 10) == 0
    assert learning_rate_share(TrainConfig(schedule="linear", **at), 2, 10) == 1
    assert learning_rate_share(TrainConfig(schedule="linear", **at), 3, 10) == pytest.approx(6 / 7)
    assert learning_rate_share(TrainConfig(schedule="cosine", **at), 9, 10) == pytest.approx(0)
    assert learning_rate_share(TrainConfig(schedule="constant", **at), 9, 10) == 1


@given(
    st.sampled_from(["cosine", "linear", "constant"]), st.integers(1, 200), st.floats(0, 0.99), st.floats(0, 1)
)  # fmt: skip
def test_every_schedule_rises_to_at_most_the_peak_and_then_only_falls(name: str, steps: int, warmup_share: float, final: float) -> None:
    config = TrainConfig.model_validate({"schedule": name, "warmup_share": warmup_share, "final_lr_share": final})
    shares = [learning_rate_share(config, step, steps) for step in range(steps)]
    peak = shares.index(max(shares))
    assert 0 <= min(shares) <= max(shares) <= 1
    assert shares[0] > 0 or steps == 1 or final == 0
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert all(after <= before + 1e-12 for before, after in zip(shares[peak:], shares[peak + 1 :], strict=False))
