"""Cross-entropy of a plain LM head without stored logits: chunk by chunk the gradient is made as soon as the logits are, and they are gone.

After Wijmans et al. 2024 (Cut Your Losses) and Liger's fused linear cross-entropy, in plain tensor operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from codetune.models.attention import fused_kernels
from codetune.models.fast.numbers import narrowed, plainly, product_type
from codetune.models.fast.products import PLAIN_LINEARS, multiply

TOKENS, LEARNING_TOKENS = 256, 1024  # at once: fewer make slow products; a head that learns is added to after each such part
WIDE_LOGITS = 1 << 19  # logits in full precision at once: they stay in a core's cache
GPU_TOKENS = 2048  # on a GPU, all of them in full precision at once: there each operation's start costs more than memory's distance
_SCALINGS = ("scale_decoder_outputs", "logit_scale", "logits_scaling", "final_logit_softcapping")  # what some families do to logits


def own_head(model: Any) -> Any | None:
    """The LM head, a plain linear layer whose output is the logits as it is; None where a family scales them, or a method changed it."""
    config, head = model.config, model.get_output_embeddings()
    if any(getattr(config, name, None) for name in _SCALINGS) or getattr(model, "final_logits_bias", None) is not None:
        return None
    return head if type(head) in PLAIN_LINEARS and "forward" not in vars(head) and not head._forward_hooks else None


class CutCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of states [tokens, hidden size] under a head [vocabulary, hidden size]; labels below 0 do not count."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, head: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        dtype = product_type(states)
        wide = torch.promote_types(states.dtype, torch.float32)
        learns = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        with plainly(states.device.type):
            narrow, weight, counted = states.to(dtype), narrowed(head, dtype), (labels >= 0)[:, None]
            total = torch.zeros((), dtype=wide, device=states.device)
            of_states = torch.empty_like(narrow) if learns[0] else None
            of_head: torch.Tensor | None = None
            on_gpu = states.device.type != "cpu" or fused_kernels.get()
            size = GPU_TOKENS if on_gpu else LEARNING_TOKENS if learns[1] else TOKENS
            at_once = size if on_gpu else max(16, WIDE_LOGITS // len(weight))
            room = narrow.new_empty(min(size, len(labels)), len(weight))  # once: a system takes its time to give so much memory
            for part in (slice(at, at + size) for at in range(0, len(labels), size)):
                logits = multiply(narrow[part], weight.t(), room[: len(labels[part])])
                total += _loss_and_gradient(logits, labels[part].clamp(min=0)[:, None], counted[part], wide, any(learns), at_once)
                if of_states is not None:
                    of_states[part] = multiply(logits, weight).mul_(counted[part])
                if learns[1]:
                    added = multiply(logits.t(), narrow[part] * counted[part])
                    of_head = added if of_head is None else of_head.to(wide).add_(added)
        ctx.kinds = states.dtype, head.dtype
        ctx.save_for_backward(*(one for one in (of_states, of_head) if one is not None))
        ctx.learns = learns
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kept, found = list(ctx.saved_tensors), list[torch.Tensor | None]()
        for learns, kind in zip(ctx.learns, ctx.kinds, strict=True):
            # In place but for numbers that would lose by it; so the backward pass is for once.
            found.append(kept.pop(0).to(torch.promote_types(kind, grad.dtype)).mul_(grad).to(kind) if learns else None)
        return found[0], found[1], None


def _loss_and_gradient(
    logits: torch.Tensor, labels: torch.Tensor, counted: torch.Tensor, wide: torch.dtype, gradient: bool, size: int
) -> torch.Tensor:
    """The summed loss of logits [tokens, vocabulary], computed in `wide`, `size` tokens at once; the logits become the gradient, where
    one is wanted.
    """
    total = torch.zeros((), dtype=wide, device=logits.device)
    for part in (slice(at, at + size) for at in range(0, len(labels), size)):
        scores, label = logits[part].to(wide), labels[part]
        largest, right = scores.amax(-1, keepdim=True), scores.gather(1, label)
        shares = torch.softmax(scores, -1, out=scores)
        # The largest score's share is 1 over the sum of all e^(score - largest), whose logarithm is wanted.
        total += torch.where(counted[part], largest - shares.amax(-1, keepdim=True).log() - right, 0).sum()
        if gradient:
            shares.scatter_add_(1, label, torch.full_like(right, -1))
            logits[part] = shares
    return total
