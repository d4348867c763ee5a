"""Learning-rate schedules as pure functions of the step: the share of the peak rate, in 0..1."""

from __future__ import annotations

import math

from codetune.config import TrainConfig


def warmup(step: int, warmup_steps: int) -> float:
    """Linear from 1/(warmup_steps + 1) at step 0 to 1 at step `warmup_steps`.

    >>> [warmup(step, 3) for step in range(4)]
    [0.25, 0.5, 0.75, 1.0]
    """
    return min(1.0, (step + 1) / (warmup_steps + 1))


def cosine(step: int, warmup_steps: int, steps: int, final_share: float) -> float:
    """Warm-up, then half a cosine down to `final_share` at the last step (Loshchilov & Hutter 2017)."""
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup_steps, steps)))


def linear(step: int, warmup_steps: int, steps: int, final_share: float) -> float:
    """Warm-up, then a straight line down to `final_share` at the last step."""
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    return 1 - (1 - final_share) * _progress(step, warmup_steps, steps)


def constant(step: int, warmup_steps: int) -> float:
    """Warm-up, then the peak."""
    return warmup(step, warmup_steps)


def learning_rate_share(config: TrainConfig, step: int, steps: int) -> float:
    """The recipe's schedule at a step (0-based) of `steps`."""
    warmup_steps = int(config.warmup_share * steps)
    if config.schedule == "constant":
        return constant(step, warmup_steps)
    shape = cosine if config.schedule == "cosine" else linear
    return shape(step, warmup_steps, steps, config.final_lr_share)


def _progress(step: int, warmup_steps: int, steps: int) -> float:
    return min(1.0, (step - warmup_steps) / max(1, steps - 1 - warmup_steps))
