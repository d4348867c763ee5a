"""Rounding at random: right on average, and small updates count where rounding to the nearest loses them."""

from __future__ import annotations

import math

import pytest
import torch

from codetune.config import TrainConfig
from codetune.train.optimizer import make_optimizer
from codetune.train.rounding import Widened, rounded_at_random

OPTIMIZERS = ("adamw", "adam", "muon", "adamw_8bit", "adafactor")


def drawn(values: torch.Tensor, times: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.stack([rounded_at_random(values, generator) for _ in range(times)]).double()


def test_the_mean_of_many_roundings_is_the_value() -> None:
    """Within four standard errors of each value, whatever its size and sign; rounding to the nearest is off by many."""
    torch.manual_seed(1)
    values, times = torch.randn(200) * 10.0 ** torch.randint(-6, 6, (200,)), 4000
    found = drawn(values, times)
    spacing = 2.0 ** (torch.floor(torch.log2(values.abs().double())) - 7)
    assert ((found - values).abs() < spacing).all(), "one of the two neighbours"
    error = (found.mean(0) - values) / (spacing * 0.5 / math.sqrt(times))
    assert error.abs().max() < 4
    nearest = (values.bfloat16().double() - values) / (spacing * 0.5 / math.sqrt(times))
    assert nearest.abs().max() > 50


def test_what_bf16_can_hold_stays() -> None:
    values = torch.tensor([0.0, -0.0, 1.0, -2.5, 3.0e38, 2.0**-126, torch.inf, -torch.inf, torch.nan]).bfloat16()
    found = rounded_at_random(values.float())
    assert torch.equal(found.view(torch.int16), values.view(torch.int16))


def stepped(optimizer: str, dtype: torch.dtype, rate: float, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix of ones before and after steps along the same gradient."""
    weight = torch.nn.Parameter(torch.ones(128, 64, dtype=dtype))
    before, gradient = weight.detach().clone(), torch.randn(128, 64, generator=torch.Generator().manual_seed(3)).to(dtype)
    made = make_optimizer({"layer": weight}, TrainConfig.model_validate({"optimizer": optimizer}), rate)
    for _ in range(steps):
        weight.grad = gradient.clone()
        made.step()
        made.zero_grad()
        assert weight.grad is None
    return before, weight.detach()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_small_steps_add_up_in_bf16_as_in_fp32(optimizer: str) -> None:
    """Fifty steps of 1e-5 on weights of size 1, whose neighbours in bf16 are 0.004 and 0.008 away: they move by 5e-4 on average."""
    _, wanted = stepped(optimizer, torch.float32, 1e-5, 50)
    _, found = stepped(optimizer, torch.bfloat16, 1e-5, 50)
    assert found.dtype == torch.bfloat16
    direction = (wanted - 1).double()
    share = float(((found.double() - 1) * direction).sum() / (direction * direction).sum())
    # One weight's variance is its mean move times the spacing, so 8,192 of them give the share to about 5%; 25% are five deviations.
    assert share == pytest.approx(1, abs=0.25)


def test_rounded_to_the_nearest_they_are_lost() -> None:
    """torch's own AdamW on bf16 weights does not move a single one: the test above can fail."""
    weight = torch.nn.Parameter(torch.ones(128, 64, dtype=torch.bfloat16))
    plain = torch.optim.AdamW([weight], lr=1e-5, weight_decay=0.0)
    for _ in range(50):
        weight.grad = torch.randn(128, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
        plain.step()
    assert torch.equal(weight.detach(), torch.ones_like(weight))


def test_stand_ins_hold_nothing_between_steps() -> None:
    weight = torch.nn.Parameter(torch.ones(128, 64, dtype=torch.bfloat16))
    widened = Widened([weight])
    optimizer = torch.optim.SGD(widened.stand_ins(), lr=1.0)
    weight.grad = torch.ones_like(weight)
    widened.step(lambda wide: optimizer.step())
    assert [one.numel() for one in widened.stand_ins()] == [0]
    assert torch.equal(weight.detach(), torch.zeros_like(weight))


def test_random_bits_hang_on_the_step_alone() -> None:
    """Not on torch's random numbers, which dropout draws: two runs side by side draw the same, and two steps do not."""
    torch.manual_seed(0)
    _, one = stepped("adamw", torch.bfloat16, 1e-3, 3)
    torch.manual_seed(1)
    _, other = stepped("adamw", torch.bfloat16, 1e-3, 3)
    assert torch.equal(one, other)
    values = torch.full((1000,), 1.001)
    draws = [rounded_at_random(values, torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    assert not torch.equal(*draws)
