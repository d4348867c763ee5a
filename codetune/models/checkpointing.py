"""Activation checkpointing: layers are computed again in the backward pass, instead of keeping what they computed (Chen et al. 2016).

transformers has its own, which takes a layer's cache away from it, and with it the prefix of prefix-tuning. Here a layer's forward is
wrapped as it is. A layer computed twice must find the same cache both times: a `FixedPrefix` stands in every layer's cache and never grows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_layers import GradientCheckpointingLayer

from codetune.errors import UserError

Result = TypeVar("Result")
_MARK = "codetune_checkpointing"


def checkpoint_layers(model: Any) -> None:
    """From now on every layer keeps its input alone, and the loss is computed by chunks in the same way. Raises UserError where none can.

    Gradients stay the same to the last bit, dropout included; each layer is computed once more for them.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"activation_checkpointing: {model.config.model_type} has no layers that can be computed twice; leave it out")
    for layer in layers:
        layer.forward = functools.partial(_twice, layer.forward)
    setattr(model, _MARK, True)


def computed_twice(model: Any) -> bool:
    """Whether its layers are computed again in the backward pass."""
    return bool(getattr(model, _MARK, False))


def in_checkpoint(model: Any, compute: Callable[..., Result], *inputs: Any) -> Result:
    """`compute(*inputs)`, and once more in the backward pass where the model's layers are computed so."""
    return _twice(compute, *inputs) if computed_twice(model) else compute(*inputs)


def _twice(compute: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    if not torch.is_grad_enabled():
        return compute(*args, **kwargs)
    result: Result = checkpoint(compute, *args, use_reentrant=False, **kwargs)
    return result


class FixedPrefix(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """One layer's keys and values before the text: the text's follow them in what attention gets, and are not kept."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


class PrefixCache(Cache):  # type: ignore[misc]
    """Keys and values of every layer, [rows, heads, virtual tokens, head dim]."""

    def __init__(self, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__(layers=[FixedPrefix(keys, values) for keys, values in layers])
