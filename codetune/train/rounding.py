"""Weights in bf16, updated in fp32 and rounded at random: small updates then count on average, and are not lost one by one.

A bf16 number has 8 significant bits: an update of less than about 1/512 of a weight rounds away, each time, and training stalls. Rounded
up with a probability equal to the part that is cut off, a weight moves by its updates' sum in expectation (Gupta et al. 2015; Zamirai
et al. 2020). Any of torch's optimisers serves: one tensor after the other is widened, stepped and rounded, so that no more than the
largest is ever held in fp32. What an optimiser keeps of its own is in the precision that it keeps for fp32 weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

_CUT_BITS = 16  # bf16 is the upper half of fp32
_SEED = 0x5EED


def rounded_at_random(values: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """fp32 as bf16: one of the two neighbours, the nearer the likelier. What bf16 can hold stays, and so does what is no number."""
    low = torch.randint(0, 1 << _CUT_BITS, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    bits = (values.view(torch.int32) + low) >> _CUT_BITS << _CUT_BITS  # sign and magnitude: away from zero where the sum carries
    return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)


class Widened:
    """fp32 stand-ins for parameters, empty but while their own parameter is stepped; optimisers are made over the stand-ins.

    The random bits are a function of the numbers of the step and of the parameter alone: a resumed run draws the same, and so does every
    process of a run, and a run whose parameters are stepped in another order.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self.steps = 0
        self._pairs = [(parameter, torch.nn.Parameter(_nothing(parameter))) for parameter in parameters]
        self._numbers: dict[torch.Tensor, int] = {parameter: number for number, (parameter, _) in enumerate(self._pairs)}

    def stand_ins(self) -> list[torch.nn.Parameter]:
        """In the order of the parameters."""
        return [wide for _, wide in self._pairs]

    def step(self, update: Callable[[torch.nn.Parameter], None]) -> None:
        """Step every parameter that has a gradient by `update`, which gets its stand-in, and drop the gradient."""
        for parameter, _ in self._pairs:
            if parameter.grad is not None:
                self.step_one(parameter, update)
        self.steps += 1

    @torch.no_grad()
    def step_one(self, parameter: torch.Tensor, update: Callable[[torch.nn.Parameter], None]) -> None:
        """The same for one of them, as a part of the present step."""
        number = self._numbers[parameter]
        wide = self._pairs[number][1]
        assert parameter.grad is not None
        wide.data, wide.grad = parameter.detach().float(), parameter.grad.float()
        parameter.grad = None
        update(wide)
        if parameter.dtype == torch.bfloat16:
            random = torch.Generator(parameter.device).manual_seed(_SEED + self.steps * len(self._pairs) + number)
            parameter.copy_(rounded_at_random(wide.detach(), random))
        else:
            parameter.copy_(wide.detach())
        wide.grad, wide.data = None, _nothing(parameter)


def _nothing(parameter: torch.Tensor) -> torch.Tensor:
    """As many dimensions and none of the size: optimisers tell matrices from vectors by it."""
    return torch.empty([0] * parameter.ndim, dtype=torch.float32, device=parameter.device)
