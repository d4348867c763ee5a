"""Which rows of a batch joined together, and which are about equally long: attention reads the columns that such rows have and no further.

Without that the longest row of all decides how many columns are read of every other one, and reading them is most of a step's work.
"""

from __future__ import annotations

from collections.abc import Sequence

_CALL_COLUMNS = 128  # an attention call of its own costs as much as reading so many columns of a row
_FEWEST = 8  # rows that are looked at together


class Waves:
    """Rows 0, 1, ... in the order in which they joined, oldest waves first, without a gap."""

    def __init__(self) -> None:
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return sum(self._sizes)

    def join(self, rows: int) -> None:
        """So many more at the end."""
        self._sizes.append(rows)

    def leave(self, gone: Sequence[bool]) -> list[tuple[int, int]]:
        """Rows leave, and others move into their places, as few as can be: (from, to), each row once, so that waves stay together.

        >>> waves = Waves()
        >>> waves.join(3), waves.join(2)
        (None, None)
        >>> waves.leave([True, False, False, False, False]), len(waves)
        ([(2, 0), (4, 2)], 4)
        """
        moves: list[tuple[int, int]] = []
        start = place = 0
        for number, size in enumerate(self._sizes):
            live = [row for row in range(start, start + size) if not gone[row]]
            end = place + len(live)
            staying = {row for row in live if row < end}
            free = (row for row in range(place, end) if row not in staying)
            moves += zip((row for row in live if row >= end), free, strict=True)
            start, place = start + size, end
            self._sizes[number] = len(live)
        self._sizes = [size for size in self._sizes if size]
        return moves


def blocks(lengths: Sequence[int]) -> list[tuple[int, int, int]]:
    """(first row, row after the last, columns) for attention in parts, where rows of these lengths each add one column.

    >>> blocks([99] * 8 + [9] * 20 + [8] * 2)
    [(0, 8, 100), (8, 30, 10)]
    """
    found: list[tuple[int, int, int]] = []
    for start in range(0, len(lengths), _FEWEST):
        stop = min(start + _FEWEST, len(lengths))
        end = max(lengths[start:stop]) + 1
        if found and _together(found[-1], stop - start, end):
            first, _, before = found.pop()
            found.append((first, stop, max(before, end)))
        else:
            found.append((start, stop, end))
    return found


def _together(block: tuple[int, int, int], size: int, end: int) -> bool:
    """Whether one call for a block and the rows after it costs less than two."""
    first, stop, before = block
    more = max(before - end, 0) * size + max(end - before, 0) * (stop - first)
    return more <= _CALL_COLUMNS
