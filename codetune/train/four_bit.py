"""What a frozen linear layer in 4 bits holds and makes, for forecasts: bitsandbytes' own tensors exist only where weights do."""

from __future__ import annotations

from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

BLOCK, NESTED_BLOCK = 64, 256  # NF4 with double quantisation: weights that share a scale, and scales that share one


def four_bit_bytes(weights: int) -> int:
    """Half a byte per weight, one byte per block, and four per 256 blocks, with the two tables of what the codes stand for."""
    blocks = -(-weights // BLOCK)
    return -(-weights // 2) + blocks + 4 * -(-blocks // NESTED_BLOCK) + 4 * (256 + 16)


def in_four_bits(model: Any, compute: torch.dtype) -> None:
    """Every frozen linear layer of a model on the meta device but the LM head, as a layer that holds so much."""
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear | Conv1D) and child is not head and not child.weight.requires_grad:
                setattr(parent, name, _FourBitLinear(child, compute))


class _FourBitLinear(torch.nn.Module):
    def __init__(self, linear: torch.nn.Linear | Conv1D, compute: torch.dtype) -> None:
        super().__init__()
        shape = linear.weight.shape
        self.shape = tuple(shape[::-1] if isinstance(linear, Conv1D) else shape)
        self.out_features, self.in_features = self.shape
        self.compute = compute
        self.bias = linear.bias
        self.register_buffer("packed", torch.empty(four_bit_bytes(linear.weight.numel()), dtype=torch.uint8, device="meta"))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = _Multiplied.apply(inputs.to(self.compute), self.shape)  # type: ignore[no-untyped-call]
        out = made if self.bias is None else made + self.bias.to(self.compute)
        return out.to(inputs.dtype).clone()  # PEFT copies it, lest it be changed in place


class _Multiplied(torch.autograd.Function):
    """A product with a weight that is made for it, forward and backward, and not kept."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        ctx.shape = shape
        return torch.nn.functional.linear(inputs, inputs.new_empty(shape))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] @ gradients[0].new_empty(ctx.shape), None
