"""Cross-entropy through Liger's fused kernel: the LM head and the loss by chunks, gradients in the same go, no logits kept.

It covers a head that is a plain linear layer whose output is the logits as it is. Everything else, and every machine without the package,
has codetune's own loss by chunks (`models.forward`).
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

import torch

from codetune.batches import IGNORED
from codetune.models.attention import fused_kernels
from codetune.models.fast.gpu_liger import kinds_on
from codetune.models.fast.gpu_proof import failure
from codetune.models.fast.loss import own_head

_MARK = "_codetune_fused_loss"


def use_fused_loss(model: Any) -> None:
    """From now on `fused_loss` computes this model's loss, where `own_head` is one."""
    setattr(model, _MARK, True)


def fused_loss(model: Any, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
    """Cross-entropy of [targets, hidden size] summed over labels that are not IGNORED, in float32; None where another must compute it."""
    if not getattr(model, _MARK, False) or not _runs_on(hidden) or own_head(model) is None:
        return None
    head = model.get_output_embeddings()
    if not _holds(hidden.device, head.bias is not None):
        return None
    return _computed(hidden, head.weight, head.bias, labels)


def _runs_on(hidden: torch.Tensor) -> bool:
    """On a GPU, or in Triton's interpreter; not on a forecast's tensors without data."""
    here = hidden.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return here and not fused_kernels.get() and hidden.dtype != torch.float64


def _computed(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor) -> torch.Tensor:
    functional: Any = importlib.import_module("liger_kernel.transformers.functional")
    device = hidden.device.type
    if torch.is_autocast_enabled(device):  # once, as autocast would in each chunk
        hidden = hidden.to(torch.get_autocast_dtype(device))
        weight = weight if weight.requires_grad else weight.to(hidden.dtype)
        bias = bias if bias is None or bias.requires_grad else bias.to(hidden.dtype)
    sums = torch.float32 if weight.requires_grad and weight.dtype != torch.float32 else None  # of the weight's gradient, over chunks
    loss: torch.Tensor = functional.liger_fused_linear_cross_entropy(
        hidden, weight, labels, bias=bias, ignore_index=IGNORED, reduction="sum", accum_dtype=sums
    )
    return loss.float()


@functools.cache
def _holds(device: torch.device, with_bias: bool) -> bool:
    """Whether it gives on this device what the plain computation gives, in fp32 and in bf16."""
    generator = torch.Generator(device).manual_seed(0)
    random = functools.partial(torch.randn, generator=generator, device=device)
    labels = torch.arange(96, device=device) * 7 % 250
    labels[5:9] = IGNORED
    given = [random(96, 64), random(250, 64), *([random(250)] if with_bias else [])]

    def fast(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return _computed(hidden, weight, bias, labels)

    def plain(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        logits = torch.nn.functional.linear(hidden, weight, bias)
        return torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)

    return not any(failure("Liger's cross-entropy", fast, plain, [one.to(kind) for one in given]) for kind in kinds_on(device))
