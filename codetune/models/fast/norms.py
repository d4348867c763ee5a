"""Norms and activations as one operation each, whose outputs are in the numbers that the next product is in."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from codetune.models.fast.numbers import plainly, product_type


class RmsNorm(torch.autograd.Function):
    """w x / sqrt(mean(x^2) + eps) over the last dimension (Zhang & Sennrich 2019), in float32 as Llama has it; kept are x and the root."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        dtype = product_type(x)
        with plainly(x.device.type):
            wide = x.float()
            root = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
            out: torch.Tensor = (wide * root).mul_(weight).to(dtype)
        ctx.save_for_backward(x, root, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, root, weight = ctx.saved_tensors
        wide, grad = x.float(), grad.float()
        scaled = wide * root
        of_weight = (grad * scaled).flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        inner = grad * weight
        share = (inner * scaled).mean(-1, keepdim=True)
        return inner.addcmul_(scaled, share, value=-1).mul_(root).to(x.dtype), of_weight, None


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up (Shazeer 2020); kept are gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        of_gate = torch.ops.aten.silu_backward(grad * up, gate)
        return of_gate, torch.nn.functional.silu(gate).mul_(grad)


_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBE = _SLOPE * 0.044715
_TOGETHER = 1 << 18  # numbers at once on a CPU: with what is made of them they stay in a core's cache


class Gelu(torch.autograd.Function):
    """GPT-2's gelu (Hendrycks & Gimpel 2016, with tanh), as x sigmoid(2 u): the same, and a sigmoid is several times faster than a tanh.

    Where a gradient is wanted the derivative is made at once, and kept in the place of x.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1)
        out = torch.empty_like(flat)
        slope = torch.empty_like(flat) if ctx.needs_input_grad[0] else None
        linear = torch.full((), _SLOPE, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        several = x.device.type == "cpu" and not torch.compiler.is_compiling()
        with plainly(x.device.type):
            for part in (slice(at, at + _TOGETHER) for at in range(0, len(flat), _TOGETHER)) if several else (slice(None),):
                wide = flat[part].to(linear.dtype)
                inner = torch.addcmul(linear, wide, wide, value=_CUBE)  # 2 u = x inner
                share = (inner * wide).sigmoid_()
                out[part] = wide * share
                if slope is not None:  # share + x share (1 - share) (2 u)', where (2 u)' = 3 inner - 2 linear
                    inner.mul_(3).sub_(2 * _SLOPE).mul_(wide)
                    slope[part] = torch.addcmul(inner, inner, share, value=-1).add_(1).mul_(share)
        if slope is not None:
            ctx.save_for_backward(slope)
        ctx.shape = x.shape
        return out.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (slope,) = ctx.saved_tensors
        found: torch.Tensor = slope.view(ctx.shape).mul_(grad)  # kept for this alone
        return found


class LayerNorm(torch.autograd.Function):
    """PyTorch's layer norm, whose output is in the numbers of the product that follows."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, eps: float) -> torch.Tensor:
        dtype = product_type(x)
        with plainly(x.device.type):
            out, mean, root = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, mean, root, weight, bias)
        return out.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, mean, root, weight, bias = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[:3])
        found = torch.ops.aten.native_layer_norm_backward(grad.to(x.dtype), x, weight.shape, mean, root, weight, bias, wanted)
        return (*(one if asked else None for one, asked in zip(found, wanted, strict=True)), None)
