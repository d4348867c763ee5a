"""Rotary positions (Su et al. 2021) as one operation for queries or keys, out of the projection's layout into the heads'."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from codetune.models.fast.numbers import plainly


class Rotate(torch.autograd.Function):
    """x cos + turned(x) sin, of x [rows, heads, tokens, head dim] and cos, sin [rows, tokens, head dim], whose two halves are the same."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        with plainly(x.device.type):
            return turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turned(grad, cos, -sin), None, None


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Each pair (x_i, x_{i + half}) turned by its angle, computed in the wider of the types and rounded once to x's."""
    half = x.shape[-1] // 2
    signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, None]
    wide = x.to(cos.dtype)
    out = wide * cos[:, None]
    return out.addcmul_(wide.roll(half, -1), signed).to(x.dtype)
