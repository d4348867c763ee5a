"""A key-value cache of slots: each row has one, which it takes, fills from its first column on, and gives back, whenever that is.

A column is a position: a row's columns hold its virtual tokens and its text without a gap, so nothing is padded and what a query may see
is all columns up to its own position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

_STEP = 64  # columns that a cache grows by at the least

KeysValues = Sequence[tuple[torch.Tensor, torch.Tensor]]  # per layer, [kv heads, tokens, head dim]


@dataclass(slots=True)
class _Pass:
    """Where the coming pass writes: slots `first` and following, at `columns` [slots, tokens]; `end` is after the last of these.

    `start` is set where every slot's columns are those from there on.
    """

    first: int
    columns: torch.Tensor
    end: int
    start: int | None = None


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """One layer's keys and values, [slots, heads, columns, head dim]."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self.cache = cache
        self.keys: Any = None
        self.values: Any = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        now = self.cache.now
        count = key_states.shape[0]
        self.hold(key_states, value_states)
        rows = slice(now.first, now.first + count)
        if now.start is not None:
            self.keys[rows, :, now.start : now.end] = key_states
            self.values[rows, :, now.start : now.end] = value_states
        else:
            slots = torch.arange(now.first, now.first + count, device=key_states.device)[:, None]
            self.keys[slots, :, now.columns] = key_states.transpose(1, 2)
            self.values[slots, :, now.columns] = value_states.transpose(1, 2)
        return self.keys[rows, :, : now.end], self.values[rows, :, : now.end]

    def get_seq_length(self) -> int:
        return self.cache.now.end - self.cache.now.columns.shape[1]

    def fill(self, slots: list[int], keys: torch.Tensor, values: torch.Tensor) -> None:
        """The first columns of these slots."""
        self.hold(keys[None], values[None])
        self.keys[slots, :, : keys.shape[1]] = keys
        self.values[slots, :, : values.shape[1]] = values

    def copy(self, slots: list[int], to: list[int], length: int) -> None:
        self.hold(self.keys, self.values)
        for held in (self.keys, self.values):
            held[to, :, :length] = held[slots, :, :length]

    def hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Have as much room as was reserved, for keys and values like these."""
        self.keys = self._grown(self.keys, keys)
        self.values = self._grown(self.values, values)

    def _grown(self, held: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
        slots, columns = self.cache.slots, self.cache.columns
        if held is not None and held.shape[0] >= slots and held.shape[2] >= columns:
            return held
        larger = new.new_zeros(slots, new.shape[1], columns, new.shape[3])
        if held is not None:
            larger[: held.shape[0], :, : held.shape[2]] = held
        return larger


class SlotCache(Cache):  # type: ignore[misc]
    """For `num_layers` layers and at most `limit` columns. It grows as rows and columns are needed, and keeps what it has."""

    def __init__(self, num_layers: int, limit: int) -> None:
        super().__init__(layers=[_Layer(self) for _ in range(num_layers)])
        self.limit, self.slots, self.columns = limit, 0, 0
        self.now = _Pass(0, torch.zeros(1, 0), 0)

    def take(self, slots: int, columns: int) -> None:
        """Room for as many as are known to come, and no more."""
        self.slots, self.columns = max(slots, self.slots), max(min(columns, self.limit), self.columns)

    def reserve(self, slots: int, columns: int) -> None:
        """Room for so many; doubled, so that growing is rare."""
        if slots > self.slots:
            self.slots = max(slots, 2 * self.slots)
        if columns > self.columns:
            self.columns = min(self.limit, max(columns + _STEP, 2 * self.columns))

    def at(self, first: int, columns: torch.Tensor, end: int, start: int | None = None) -> None:
        """Where the coming pass writes: slots from `first` on, at `columns` [slots, tokens], all before `end`; see `_Pass`."""
        self.reserve(first + columns.shape[0], end)
        self.now = _Pass(first, columns, end, start)

    def fill(self, slots: list[int], lead: KeysValues) -> None:
        """Rows that begin with these keys and values."""
        self.reserve(max(slots) + 1, lead[0][0].shape[1])
        for layer, (keys, values) in zip(self.layers, lead, strict=True):
            layer.fill(slots, keys, values)

    def copy(self, slots: list[int], to: list[int], length: int) -> None:
        """The first `length` columns of slots into others; all are read before one is written."""
        self.reserve(max(to) + 1, length)
        for layer in self.layers:
            layer.copy(slots, to, length)

    def columns_of(self, slot: int, length: int) -> KeysValues:
        """A copy of a slot's first `length` columns."""
        return [(layer.keys[slot, :, :length].clone(), layer.values[slot, :, :length].clone()) for layer in self.layers]

    def free(self) -> None:
        """Give all memory back."""
        self.slots = self.columns = 0
        for layer in self.layers:
            layer.keys = layer.values = None
