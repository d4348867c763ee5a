"""Nothing is used on a GPU that has not first given there what the plain computation gives: loss, values and gradients on a small sample.

A kernel that does not compile, that the card has not, or that rounds otherwise than it should costs speed, never a run or its numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch

from codetune.batches import Batch, batch_of

LENGTHS = ((5, 130, 40), (64, 1, 90))  # documents of two rows: one longer than a block of 128, one of a single token; the second is padded
# Relative error of a whole tensor: some roundings of the type, since sums are made in another order.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-2, torch.bfloat16: 3e-2, torch.float16: 4e-3}  # fp32: products may be in TF32

log = logging.getLogger("codetune")


def failure(
    name: str, fast: Callable[..., torch.Tensor], plain: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], least: float = 0.0
) -> str:
    """Why the fast computation must not be used, "" where value and gradients are those of the plain one, which runs in float32 or wider.

    `inputs` are given to both as copies, and all that are floating point get a gradient. The bound is that of the narrowest type among
    them, or `least`. What is found is said once, as a warning.
    """
    kinds = [one.dtype for one in inputs if one.is_floating_point()]
    bound = max(least, *(TOLERANCE[kind] for kind in kinds))
    try:
        got = _results(fast, inputs, None)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver raises: the plain computation goes on
        why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    else:
        wanted = _results(plain, inputs, torch.float32)
        why = _difference(got, wanted, bound)
    if why:
        log.warning("%s is not used: %s", name, why)
    return why


def _results(compute: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], widened: torch.dtype | None) -> list[torch.Tensor]:
    """The value and the gradient of each floating-point input, for a fixed gradient of the value."""
    own = [one.detach().clone(memory_format=torch.preserve_format) for one in inputs]
    if widened is not None:
        own = [one.to(torch.promote_types(one.dtype, widened)) if one.is_floating_point() else one for one in own]
    leaves = [one.requires_grad_() for one in own if one.is_floating_point()]
    with torch.enable_grad():
        # Times one: kernels that write into what they are given must not find a leaf.
        value = compute(*(one * 1 if one.is_floating_point() else one for one in own))
        weights = torch.linspace(-1, 1, value.numel(), dtype=torch.float64, device=value.device).view(value.shape)
        gradients = torch.autograd.grad(value, leaves, weights.to(value.dtype))
    return [value.detach(), *gradients]


def _difference(got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], bound: float) -> str:
    for number, (one, right) in enumerate(zip(got, wanted, strict=True)):
        if one.shape != right.shape:
            return f"its shape is {tuple(one.shape)}, not {tuple(right.shape)}"
        error = float((one.double() - right.double()).norm() / right.double().norm().clamp_min(1e-30))
        if not error <= bound:  # NaN is no agreement
            return f"{'its value' if not number else f'gradient {number}'} differs by {error:.1e} (at most {bound:.0e})"
    return ""


def sample_batch() -> Batch:
    """Two packed rows of documents of several lengths, the second with padding."""
    width = 192
    documents, positions = np.zeros((2, width), dtype=np.int64), np.zeros((2, width), dtype=np.int64)
    for row, lengths in enumerate(LENGTHS):
        at = 0
        for number, length in enumerate(lengths, start=1):
            documents[row, at : at + length], positions[row, at : at + length] = number, np.arange(length)
            at += length
    return batch_of(documents * 3 % 61, documents, positions, positions > 0)
