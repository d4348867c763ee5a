"""Matrix products by whichever library is faster: in float32 oneDNN's, where MKL leaves a processor's wider units unused."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from codetune.models.fast.numbers import applied
from codetune.models.machine import processor_vendor

FEWEST_TOKENS = 32  # of a product on its own: of fewer, MKL's are as fast


def multiply(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """a b of two matrices. `out` may be written to, or not: use what is returned."""
    if by_onednn(a, b):
        made: torch.Tensor = torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
        return made
    return torch.mm(a, b, out=out)


def multiply_and_add(a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """a b + bias, the bias within the product where the library can have it so."""
    if bias is None or by_onednn(a, b):
        out = multiply(a, b)
        return out if bias is None else out.add_(bias)
    return torch.addmm(bias.to(a.dtype), a, b)


def by_onednn(*tensors: torch.Tensor) -> bool:
    """Whether a product of these is oneDNN's: of float32 on a processor for which MKL has no code of its own. Not in a compiled layer:
    the compiler takes oneDNN's for weights that never change."""
    return not torch.compiler.is_compiling() and all(_is_float32(one) for one in tensors) and _mkl_falls_back()


def _is_float32(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"


@functools.cache
def _mkl_falls_back() -> bool:
    """MKL has AVX-512 for Intel's processors alone: others get AVX2, whatever they have."""
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and processor_vendor() != "GenuineIntel"
    return wide and torch.backends.mkl.is_available() and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class LinearProduct(torch.autograd.Function):
    """x W + b of x [..., inputs] by `multiply`, W as a view [inputs, outputs]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        ctx.save_for_backward(flat if ctx.needs_input_grad[1] else None, weight)
        ctx.shape = x.shape
        return multiply_and_add(flat, weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        of_x = multiply(grad, weight.t()).view(ctx.shape) if ctx.needs_input_grad[0] else None
        of_weight = multiply(flat.t(), grad) if ctx.needs_input_grad[1] else None
        return of_x, of_weight, grad.sum(0) if ctx.needs_input_grad[2] else None


class FastLinear(torch.nn.Linear):
    """PyTorch's, whose products in float32 are oneDNN's where those are faster."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not _by_onednn(input, self.weight):
            return super().forward(input)
        return applied(LinearProduct, input, self.weight.t(), self.bias)


class FastConv1D(Conv1D):  # type: ignore[misc]  # transformers is not typed
    """GPT-2's linear layer, whose matrix is [inputs, outputs]; the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not _by_onednn(x, self.weight):
            plain: torch.Tensor = super().forward(x)
            return plain
        return applied(LinearProduct, x, self.weight, self.bias)


def _by_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    enough = torch.is_grad_enabled() or x.numel() >= FEWEST_TOKENS * x.shape[-1]
    return enough and not torch.is_autocast_enabled(x.device.type) and by_onednn(x, weight)


PLAIN_LINEARS = (torch.nn.Linear, Conv1D, FastLinear, FastConv1D)  # the classes of layers that multiply, add a bias, and do nothing else
