"""Words in figures: labels beside points and at the ends of lines that do not lie on each other, and a key that flows in lines.

Places are reckoned in pixels of the figure from an average width of letters, not from a font's, so that the same records give the
same figure wherever it is drawn. Limits of the axes must stand before labels are placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

SIZE = 8.0  # points, of a label
KEY_LINE = 0.19  # inches, of a line of the key
_LETTER = 0.54  # of the size, the mean width of a letter

Box = tuple[float, float, float, float]  # left, bottom, right, top in pixels


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One entry of a key; without a marker it is a line, without either a word of its own."""

    text: str
    color: str
    marker: str = ""
    hollow: bool = False
    line: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A word that belongs to the point (x, y) of the data."""

    x: float
    y: float
    text: str
    color: str


def text_inches(text: str, size: float = SIZE) -> float:
    """About how wide a text is."""
    return len(text) * _LETTER * size / 72


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions at least `gap` apart, in the order of those wanted and as near to them as least squares can be.

    >>> spread([0.0, 0.0, 10.0], 2.0)
    [-1.0, 1.0, 10.0]
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    pools: list[list[float]] = []  # of [sum, count]: positions less their share of gaps, made to rise (pool adjacent violators)
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + count]
    risen = [total / count for total, count in pools for _ in range(int(count))]
    found = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        found[index] = risen[rank] + rank * gap
    return found


def end_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Labels to the right of the plot, each at the height of its line's end or as near as the others let it."""
    if not labels:
        return
    scale = axes.figure.dpi / 72
    ends = [axes.transData.transform((label.x, label.y)) for label in labels]
    box = axes.get_window_extent()
    heights = spread([min(max(float(end[1]), box.y0), box.y1) for end in ends], 1.25 * SIZE * scale)
    lift = max(0.0, box.y0 - min(heights)) - max(0.0, max(heights) - box.y1)
    to_figure = axes.figure.transFigure.inverted()
    for label, end, height in zip(labels, ends, heights, strict=True):
        at = to_figure.transform((box.x1 + 9 * scale, height + lift))
        start, stop = to_figure.transform((end[0] + 4 * scale, end[1])), to_figure.transform((box.x1 + 7 * scale, height + lift))
        line = [[start[0], stop[0]], [start[1], stop[1]]]
        axes.figure.add_artist(Line2D(*line, color=label.color, linewidth=0.6, alpha=0.6, transform=axes.figure.transFigure))
        axes.figure.text(float(at[0]), float(at[1]), label.text, color=label.color, fontsize=SIZE, va="center", ha="left")


def point_labels(axes: Axes, labels: Sequence[Label], taken: Sequence[tuple[float, float]] = (), first: int = 0) -> None:
    """Labels beside their points, where they cover neither each other nor points (nor those at `taken`), if there is such a place.

    Of places as good, the one numbered `first` is taken; see `_places`.
    """
    scale = axes.figure.dpi / 72
    box = axes.get_window_extent()
    inside = (box.x0 - 2, box.y0, box.x1 + 10 * scale, box.y1 + 4 * scale)
    points = [tuple(axes.transData.transform(place)) for place in [*((label.x, label.y) for label in labels), *taken]]
    full = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in points]
    for label in labels:
        x, y = axes.transData.transform((label.x, label.y))
        width, height = text_inches(label.text) * axes.figure.dpi, 1.1 * SIZE * scale
        places = _places(float(x), float(y), width, height, 6.5 * scale)
        order = [first, *range(len(places))]
        best = min(order, key=lambda n: _outside(places[n], inside) + sum(_overlap(places[n], other) for other in full))
        full.append(places[best])
        at = axes.figure.transFigure.inverted().transform((places[best][0], (places[best][1] + places[best][3]) / 2))
        axes.figure.text(float(at[0]), float(at[1]), label.text, color=label.color, fontsize=SIZE, va="center", ha="left")


def key_lines(entries: Sequence[KeyEntry], width: float) -> list[list[tuple[float, KeyEntry]]]:
    """Entries in lines of a figure that is `width` inches wide, each with its left edge in inches."""
    lines: list[list[tuple[float, KeyEntry]]] = []
    at = width
    for entry in entries:
        needed = text_inches(entry.text) + (0.22 if entry.marker or entry.line else 0.0)
        if at + needed > width - 0.05:
            lines.append([])
            at = 0.12
        lines[-1].append((at, entry))
        at += needed + 0.16
    return lines


def draw_key(figure: Figure, lines: Sequence[Sequence[tuple[float, KeyEntry]]]) -> None:
    """The lines of `key_lines` at the top of the figure."""
    width, height = figure.get_size_inches()
    for number, line in enumerate(lines):
        y = 1 - (0.14 + KEY_LINE * number) / height
        for left, entry in line:
            drawn = entry.hollow or entry.marker in ("x", "|")  # marks that are all edge
            edge: dict[str, Any] = {"markerfacecolor": "white" if entry.hollow else entry.color, "markeredgewidth": 1.3 if drawn else 0}
            if entry.marker or entry.line:
                xs = [(left + 0.06) / width] if entry.marker else [left / width, (left + 0.14) / width]
                marked = Line2D(xs, [y] * len(xs), color=entry.color, marker=entry.marker or None, linestyle=entry.line or "none",
                                markersize=6, linewidth=1.5, transform=figure.transFigure, **edge)  # fmt: skip
                figure.add_artist(marked)
            figure.text((left + (0.19 if entry.marker or entry.line else 0)) / width, y, entry.text, fontsize=SIZE, va="center", ha="left")


def _places(x: float, y: float, width: float, height: float, off: float) -> list[Box]:
    """Where a label may stand: right, left, above, below, at the corners (upper left is number 6), then the same further off."""
    found = []
    for far in (1.0, 2.2, 3.6):
        d, half = off * far, height / 2
        sides = [(x + d, y - half), (x - d - width, y - half)]
        middle = [(x - width / 2, y + d - half / 2), (x - width / 2, y - d - height + half / 2)]
        upper, lower, right, left = y + 0.6 * d, y - 0.6 * d - height, x + 0.7 * d, x - 0.7 * d - width
        corners = [(right, upper), (right, lower), (left, upper), (left, lower)]
        found += [(at, bottom, at + width, bottom + height) for at, bottom in sides + middle + corners]
    return found


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _outside(one: Box, inside: Box) -> float:
    area = (one[2] - one[0]) * (one[3] - one[1])
    return float(4 * np.maximum(0.0, area - _overlap(one, inside)))
