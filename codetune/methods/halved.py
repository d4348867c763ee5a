"""A base whose frozen matrices are in bf16 already, beside embeddings and norms in float32: what a method sees of it while it is attached.

Methods start as they would on a base in float32, to the last bit; only so much of it is never held at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D


def halved(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters of linear layers that are in bf16."""
    linears = (module for module in model.modules() if isinstance(module, torch.nn.Linear | Conv1D))
    return [p for module in linears for p in module.parameters(recurse=False) if p.dtype == torch.bfloat16]


@contextlib.contextmanager
def seemingly_whole(model: torch.nn.Module) -> Iterator[None]:
    """Matrices in bf16 look as if in float32, and hold nothing: PEFT rounds what it adds to a layer to that layer's type."""
    kept = [(parameter, parameter.data) for parameter in halved(model)]
    for parameter, data in kept:
        parameter.data = torch.zeros((), dtype=torch.float32, device=data.device).expand(data.shape)
    try:
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@contextlib.contextmanager
def multiplied_whole(model: Any) -> Iterator[None]:
    """Each layer is in float32 while it multiplies, where the model's embeddings are: a pass of a base in float32, one layer at a time."""
    layers: list[Any] = []
    if model.get_input_embeddings().weight.dtype == torch.float32:
        layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear | Conv1D) and halved(module)]
    kept: dict[int, torch.Tensor] = {}

    def widen(module: Any, _: Any) -> None:
        for parameter in halved(module):
            kept[id(parameter)], parameter.data = parameter.data, parameter.data.float()

    def narrow(module: Any, _: Any, __: Any) -> None:
        for parameter in module.parameters(recurse=False):
            parameter.data = kept.pop(id(parameter), parameter.data)

    handles = [hook for layer in layers for hook in (layer.register_forward_pre_hook(widen), layer.register_forward_hook(narrow))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
