"""A linear layer with LoRA beside it as one operation: nothing is cast twice, and of the inputs one copy is kept for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners import lora
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from codetune.models.fast.numbers import applied, plainly, product_type
from codetune.models.fast.products import PLAIN_LINEARS, multiply, multiply_and_add


class LoraProduct(torch.autograd.Function):
    """x W + b + s (x A) B of x [..., inputs]; W is frozen, [inputs, outputs] or, as PyTorch has it, turned.

    Products are in autocast's dtype, those with A and B too, as PEFT's are under autocast. Kept are x and x A.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """`weight` is a view [inputs, outputs]; `down` [rank, inputs], `up` [outputs, rank]."""
        dtype = product_type(x)
        with plainly(x.device.type):
            flat, weight = x.reshape(-1, x.shape[-1]).to(dtype), weight.to(dtype)
            out = multiply_and_add(flat, weight, bias)
            narrow = flat @ down.to(dtype).t()
            out.addmm_(narrow, (up * scaling).to(dtype).t())
        ctx.save_for_backward(flat, weight, down, up, narrow)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], out.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, down, up, narrow = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1]).to(flat.dtype)
        behind = grad @ (up * ctx.scaling).to(grad.dtype)
        inputs = None
        if ctx.needs_input_grad[0]:
            inputs = multiply(grad, weight.t()).addmm_(behind, down.to(grad.dtype)).view(ctx.shape)
        of_down = (behind.t() @ flat).to(down.dtype)
        of_up = (narrow.t() @ grad).t().to(up.dtype) * ctx.scaling
        return inputs, None, None, of_down, of_up, None


class FastLoraLinear(lora.Linear):  # type: ignore[misc]  # PEFT is not typed
    """PEFT's layer; plain LoRA of one adapter on a frozen layer is computed by `LoraProduct`, all else as PEFT does."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        name, base = self._adapter_alone(), self.base_layer
        if name is None or args or kwargs:
            out: torch.Tensor = super().forward(x, *args, **kwargs)
            return out
        weight = base.weight if isinstance(base, Conv1D) else base.weight.t()
        kinds = {x.dtype, weight.dtype, self.lora_A[name].weight.dtype}
        if not torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type) and len(kinds) == 1:
            return _added(x, weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name])
        return applied(LoraProduct, x, weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name])

    def _adapter_alone(self) -> str | None:
        """The adapter's name where plain LoRA is all there is."""
        base, active = self.base_layer, self.active_adapters
        if self.disable_adapters or self.merged or len(active) != 1 or active[0] not in self.lora_A or active[0] in self.lora_variant:
            return None
        dropped = self.lora_dropout[active[0]]
        plain = isinstance(dropped, torch.nn.Identity) or not self.training or getattr(dropped, "p", 1.0) == 0
        plain &= type(base) in PLAIN_LINEARS and not base.weight.requires_grad and not parametrize.is_parametrized(base)
        plain &= (base.bias is None or not base.bias.requires_grad) and self.lora_B[active[0]].bias is None
        return active[0] if plain and base.weight.is_floating_point() else None


def _added(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor, scaling: float
) -> torch.Tensor:
    """What `LoraProduct` computes where nothing is kept for a backward pass, as when answers are written: three products."""
    flat = x.reshape(-1, x.shape[-1])
    out = torch.nn.functional.linear(flat, weight.t(), bias)
    return out.addmm_(flat @ down.t(), up.t(), alpha=scaling).view(*x.shape[:-1], -1)
