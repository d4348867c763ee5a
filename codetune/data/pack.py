"""Packing: which examples share a row, so that rows of `capacity` tokens are as full as can be (best-fit decreasing)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codetune.data.arrays import Stream, load_arrays, save_arrays
from codetune.errors import UserError

Numbers = NDArray[np.int64]
Piece = tuple[int, int, int]  # example, start, stop
Row = list[Piece]


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows(Sequence[Row]):
    """Rows of pieces as flat arrays, so that millions of examples take little room; each row is made a list when it is asked for."""

    row_offsets: Numbers  # [rows + 1]
    examples: Numbers  # [pieces]
    starts: Numbers  # [pieces]
    stops: Numbers  # [pieces]

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        place = slice(self.row_offsets[at], self.row_offsets[at + 1])
        return list(zip(self.examples[place].tolist(), self.starts[place].tolist(), self.stops[place].tolist(), strict=True))

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self)))

    @property
    def tokens(self) -> Numbers:
        """How many tokens each row has."""
        ends = np.concatenate([[0], np.cumsum(self.stops - self.starts)])
        return np.asarray(np.diff(ends[self.row_offsets]), dtype=np.int64)


def row_tokens(row: Row) -> int:
    return sum(stop - start for _, start, stop in row)


def tokens_of(rows: Sequence[Row]) -> list[int]:
    """How many tokens each row has."""
    return rows.tokens.tolist() if isinstance(rows, PackedRows) else [row_tokens(row) for row in rows]


def best_fit_decreasing(lengths: ArrayLike, capacity: int) -> PackedRows:
    """Whole examples in rows, each row's lengths adding up to at most `capacity`.

    Longest first, each into the fullest row that still has room (Johnson 1973: within 11/9 of the optimum, and in
    practice within one row of it for short pairs). Ties keep the given order, so the result is deterministic.
    Rows with equal room take examples of equal length all at once: the work is per pair of length and room, not per example.
    """
    given = np.asarray(lengths, dtype=np.int64)
    bad = given[(given <= 0) | (given > capacity)]
    if len(bad):
        raise UserError(f"an example of {bad[0]} tokens does not fit a row of {capacity}: raise max_seq_len or drop it")
    small = np.uint16 if capacity < 1 << 16 else np.int64  # numpy sorts 16 bits by radix, in linear time
    longest_first = np.argsort((capacity - given).astype(small), kind="stable")
    counts = np.bincount(given, minlength=1)
    row_of, count = _place(counts, capacity)
    examples = longest_first[_grouped(row_of, count)]
    return whole_examples(examples, np.bincount(row_of, minlength=count), given)


def whole_examples(examples: Numbers, examples_per_row: Numbers, lengths: Numbers) -> PackedRows:
    """Rows of so many examples each, uncut, in the order of `examples`."""
    offsets = np.concatenate([[0], np.cumsum(examples_per_row)]).astype(np.int64)
    return PackedRows(offsets, examples, np.zeros_like(examples), lengths[examples])


def one_stream(lengths: ArrayLike, capacity: int, order: ArrayLike | None = None) -> PackedRows:
    """`packing: concatenated`: rows cut from one stream of the examples in an order, by default the given one.

    Examples are cut at row ends. The last, partial row is kept, so no token is lost.
    """
    given = np.asarray(lengths, dtype=np.int64)
    chosen = np.arange(len(given)) if order is None else np.asarray(order, dtype=np.int64)
    ends = np.cumsum(given[chosen])
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.unique(np.concatenate([[0], ends, np.arange(0, total, capacity)]).astype(np.int64))
    begins = cuts[:-1]
    place = np.searchsorted(ends, begins, side="right")
    starts = begins - (ends - given[chosen])[place]
    offsets = np.searchsorted(begins, np.arange(0, total + capacity, capacity)) if total else np.zeros(1)
    return PackedRows(offsets.astype(np.int64), chosen[place], starts, starts + np.diff(cuts))


def save_rows(folder: Path, rows: PackedRows, about: dict[str, Any]) -> None:
    """Write rows as arrays to be memory-mapped; `about` says what they were made of."""
    names = ("row_offsets", "examples", "starts", "stops")
    save_arrays(folder, {name: Stream.of(getattr(rows, name)) for name in names}, {"rows": len(rows), **about})


def load_rows(folder: Path) -> PackedRows:
    """What `save_rows` wrote. Raises UserError where it is missing or damaged."""
    return PackedRows(**load_arrays(folder)[0])


def _place(counts: NDArray[Any], capacity: int) -> tuple[Numbers, int]:
    """The row of each example, longest first, from how many examples there are of each length; and how many rows there are."""
    row_of = np.empty(int(counts.sum()), dtype=np.int64)
    open_rows, at = _OpenRows(capacity), 0
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            room, rows = open_rows.take(length, left)
            each = room // length
            placed = min(left, each * len(rows))
            row_of[at : at + placed] = np.repeat(rows, each)[:placed] if each > 1 else rows
            full, rest = divmod(placed, each)
            open_rows.put(room - each * length, rows[:full])
            if rest:
                open_rows.put(room - rest * length, rows[full:])
            at, left = at + placed, left - placed
    return row_of, open_rows.count


class _OpenRows:
    """Rows by how many tokens are free in them. Of rows with equal room, the one that came to it last is taken first."""

    def __init__(self, capacity: int) -> None:
        self.count = 0
        self._capacity = capacity
        self._by_room: list[list[Numbers]] = [[] for _ in range(capacity + 1)]
        self._rooms = 0  # bit r is set while some row has r tokens free

    def take(self, length: int, examples: int) -> tuple[int, Numbers]:
        """The least room that is enough for the length, and rows with it, no more than so many examples can use; else new rows."""
        fitting = self._rooms >> length
        if not fitting:
            rows = -(-examples // (self._capacity // length))
            self.count += rows
            return self._capacity, np.arange(self.count - rows, self.count)
        room = length + (fitting & -fitting).bit_length() - 1
        groups = self._by_room[room]
        group, wanted = groups.pop(), -(-examples // (room // length))
        if wanted < len(group):
            groups.append(group[:-wanted])
        elif not groups:
            self._rooms ^= 1 << room
        return room, group[-wanted:][::-1]

    def put(self, room: int, rows: Numbers) -> None:
        if room and len(rows):
            self._by_room[room].append(rows)
            self._rooms |= 1 << room


def _grouped(row_of: Numbers, count: int) -> Numbers:
    """Places in the order of their rows, and in their own order within a row."""
    return np.argsort(row_of.astype(np.uint16) if count < 1 << 16 else row_of, kind="stable")
