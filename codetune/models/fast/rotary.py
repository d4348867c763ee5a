"""Rotary positions (Su et al. 2021) as one operation for queries or keys, out of the projection's layout into the heads'."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from codetune.models.fast.numbers import plainly

_KEPT = "codetune_for_heads"


class Rotate(torch.autograd.Function):
    """x cos + turned(x) sin, of x [rows, heads, tokens, head dim] and angles as of `for_heads`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, signed: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, signed)
        with plainly(x.device.type):
            return turned(x, cos, signed, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, signed = ctx.saved_tensors
        return turned(grad, cos, signed, -1), None, None


def turned(x: torch.Tensor, cos: torch.Tensor, signed: torch.Tensor, way: int) -> torch.Tensor:
    """Each pair (x_i, x_{i + half}) turned by its angle, one way or back, computed in the wider of the types and rounded once to x's."""
    wide = x.to(cos.dtype)
    return (wide * cos).addcmul_(wide.roll(x.shape[-1] // 2, -1), signed, value=way).to(x.dtype)


def for_heads(cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Angles [rows, tokens, head dim] as `Rotate` takes them, [rows, 1, tokens, head dim]: sines with the signs of what they turn.

    Layers are given the same tensors one after the other, so what was made of them is kept with them; a compiled layer makes its own.
    """
    if torch.compiler.is_compiling():
        return _made_of(cos, sin)
    kept: tuple[torch.Tensor, torch.Tensor] | None = getattr(sin, _KEPT, None)
    if kept is None:
        kept = _made_of(cos, sin)
        setattr(sin, _KEPT, kept)
    return kept


def _made_of(cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    half = sin.shape[-1] // 2
    return cos[:, None], torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[:, None]
