"""The optimiser's step inside the backward pass: each weight is updated as soon as its gradient is whole, and the gradient is dropped.

So gradients never lie in memory together: of 7 billion weights in bf16 they are 13 GB. The weights after a step are those of the ordinary
loop, bit for bit, whatever the optimiser. Two things must be known before the first weight moves, and are known only after the last
gradient: the factor that clips all gradients together, and whether their norm is a number. With `max_grad_norm` each step therefore passes
twice through the model (LOMO's way; Lv et al. 2023): first for the norm alone, then for the weights. With `max_grad_norm: null` it passes
once: the loss is judged before anything moves, and a gradient that is no number is found when weights have moved by it already. Such a run
ends there, with nothing saved of that step: told to clip, it goes on from an earlier checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from codetune.errors import UserError
from codetune.records import Json
from codetune.train.gradient import step_gradient
from codetune.train.optimizer import Optimizer
from codetune.train.plan import Step
from codetune.train.resume import set_random_state
from codetune.train.run import Run

Judge = Callable[[float, float], str]  # what is wrong with a loss and a gradient norm, "" where nothing is


def require_one_pass(run: Run) -> None:
    """Raises UserError where a step's gradient comes in several parts, or from several processes."""
    if run.group.size > 1:
        raise UserError("train.optimizer_in_backward: gradients of several processes are summed first: use one, or leave it out")
    most = max((len(step) for step in run.material.steps), default=0)
    if most > run.config.micro_batch_size:
        raise UserError(
            f"train.optimizer_in_backward needs each step in one pass, and here steps have up to {most} rows, passes "
            f"{run.config.micro_batch_size}: set train.micro_batch_size={most}, or a smaller train.batch_tokens"
        )


class StepsInBackward:
    """Hooks on the trained parameters, until its block ends. Raises UserError where a step is not one pass of one process."""

    def __init__(self, run: Run, trained: Mapping[str, torch.nn.Parameter], optimizer: Optimizer) -> None:
        require_one_pass(run)
        self._run, self._trained, self._optimizer = run, dict(trained), optimizer
        self._norms: dict[torch.Tensor, torch.Tensor] = {}
        self._total: torch.Tensor | None = None  # the norm to clip by: weights move
        register: Any = torch.Tensor.register_post_accumulate_grad_hook
        self._handles = [register(parameter, self._whole) for parameter in trained.values()]

    def __enter__(self) -> StepsInBackward:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def first_pass(self, step: Step, judge: Judge) -> tuple[float, int, int, float]:
        """Summed loss, supervised tokens, text tokens and gradient norm of a step; weights have moved only where gradients are not clipped
        and the loss is a good one."""
        self._norms, self._total = {}, None
        if self._clips:
            return (*step_gradient(self._run, step), float(self._norm()))
        self._total = torch.zeros(())
        found = step_gradient(self._run, step, lambda loss: not judge(loss, 0.0))
        return (*found, float(self._norm()))

    def finish(self, step: Step, before: Json) -> None:
        """Make the step. `before`: the random numbers that its first pass began with."""
        if self._clips:
            self._total = self._norm()
            set_random_state(before)
            step_gradient(self._run, step)
        self._optimizer.ended()

    def spoilt_by(self, norm: float) -> bool:
        """Whether weights have moved by gradients that are no numbers."""
        return not self._clips and bool(self._norms) and not math.isfinite(norm)

    @property
    def _clips(self) -> bool:
        return self._run.config.max_grad_norm is not None

    def _norm(self) -> torch.Tensor:
        """Of all gradients together, as `torch.nn.utils.get_total_norm` has it, to the last bit."""
        norms = [self._norms[parameter] for parameter in self._trained.values() if parameter in self._norms]
        return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())

    def _whole(self, parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        if self._total is None or not self._clips:
            self._norms[parameter] = torch._foreach_norm([parameter.grad])[0]
        if self._total is not None:
            if self._run.config.max_grad_norm is not None:
                torch.nn.utils.clip_grads_with_norm_([parameter], self._run.config.max_grad_norm, self._total)
            self._optimizer.step_one(parameter)
        parameter.grad = None
