"""A key-value cache that writes into memory taken once, instead of copying all that came before with every token."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """One layer's keys and values, [rows, heads, capacity, head dim], of which the first `length` are filled."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity, self.length = capacity, 0
        self.is_initialized = False

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            rows, heads, _, dim = key_states.shape
            self.keys = key_states.new_empty(rows, heads, self.capacity, dim)
            self.values = value_states.new_empty(rows, heads, self.capacity, dim)
            self.is_initialized = True
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def keep_rows(self, rows: torch.Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]


class PreallocatedCache(Cache):  # type: ignore[misc]
    """For `num_layers` layers and at most `capacity` tokens. Masks decide what is seen, sliding windows too."""

    def __init__(self, num_layers: int, capacity: int) -> None:
        super().__init__(layers=[_Layer(capacity) for _ in range(num_layers)])

    def keep_rows(self, rows: torch.Tensor) -> None:
        """Go on with these rows of the batch alone."""
        for layer in self.layers:
            layer.keep_rows(rows)
