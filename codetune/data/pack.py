"""Packing: which examples share a row, so that rows of `capacity` tokens are as full as can be (best-fit decreasing)."""

from __future__ import annotations

from collections.abc import Sequence

from codetune.errors import UserError


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of example indices, each row's lengths adding up to at most `capacity`.

    Longest first, each into the fullest row that still has room (Johnson 1973: within 11/9 of the optimum, and in
    practice within one row of it for short pairs). Ties keep the given order, so the result is deterministic.
    O(n log n) plus one big-integer operation per example: a bit mask says which amounts of free room exist.
    """
    rows: list[list[int]] = []
    rows_with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r is set while some row has r tokens free
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if not 0 < length <= capacity:
            raise UserError(f"an example of {length} tokens does not fit a row of {capacity}: raise max_seq_len or drop it")
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(index)
        left = room - length
        rows_with_room[left].append(row)
        rooms |= 1 << left
    return rows


def one_stream(lengths: Sequence[int], capacity: int) -> list[list[tuple[int, int, int]]]:
    """`packing: concatenated`: rows cut from one stream in the given order, as (example, start, stop) pieces.

    Examples are cut at row ends. The last, partial row is kept, so no token is lost.
    """
    rows: list[list[tuple[int, int, int]]] = [[]]
    free = capacity
    for index, length in enumerate(lengths):
        start = 0
        while start < length:
            if free == 0:
                rows.append([])
                free = capacity
            stop = min(length, start + free)
            rows[-1].append((index, start, stop))
            free -= stop - start
            start = stop
    return rows if rows[-1] else rows[:-1]
