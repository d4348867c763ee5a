"""Figures of scaling: quality and held-out loss of each row against the size of the data or of the model, with fitted laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from codetune.score.power_law import NoLaw, PowerLaw
from codetune.study.plot_labels import KeyEntry, Label, end_labels, text_inches
from codetune.study.plots import MUTED, RowStyle, in_house_style, panel
from codetune.study.plots_cost import log_axis, sizes_axis


@dataclass(frozen=True, slots=True)
class SizePoint:
    """A row at one size: the mean over its runs with its interval, where there is one, and the runs."""

    size: float
    value: float
    low: float | None = None
    high: float | None = None
    runs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Scaling:
    """A row over sizes; `law` only of a loss."""

    row: str
    points: tuple[SizePoint, ...]
    law: PowerLaw | NoLaw | None = None


@dataclass(frozen=True, slots=True)
class SizeAxis:
    """What the sizes are, and names of them where they have any."""

    label: str
    names: Mapping[float, str] | None = None


@in_house_style
def quality_by_size(
    lines: Sequence[Scaling], levels: Mapping[str, float], axis: SizeAxis, quality: str, styles: Mapping[str, RowStyle]
) -> Figure:
    """Quality (0..1) of each row at each size with its interval; `levels` are rows that do not depend on it, dotted."""
    names = [line.row for line in lines] + list(levels)
    figure, axes = panel(2.6, bottom=0.66 if axis.names else 0.5, right=0.28 + max(text_inches(name) for name in names))
    sizes = sorted({point.size for line in lines for point in line.points})
    sizes_axis(axes, sizes, axis.names)
    tops = [point.value if point.high is None else point.high for line in lines for point in line.points]
    axes.set_ylim(0, 106 * max([*tops, *levels.values(), 0.01]))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    ends = []
    for number, line in enumerate(lines):
        style, points = styles[line.row], line.points
        # Rows of one size stand a little apart, so that their intervals can be seen.
        x = np.array([point.size for point in points]) * (sizes[-1] / sizes[0]) ** (0.008 * (number - (len(lines) - 1) / 2))
        for at, point in zip(x, points, strict=True):
            if point.low is not None and point.high is not None:
                ends_y = [100 * point.low, 100 * point.high]
                axes.plot([at, at], ends_y, color=style.light, linewidth=1.4, alpha=0.5, solid_capstyle="round")
        y = [100 * point.value for point in points]
        axes.plot(x, y, linewidth=1.5, linestyle=style.dash, markersize=6, **style.look)
        ends.append(Label(float(x[-1]), y[-1], line.row, style.light))
    for row, level in levels.items():
        axes.axhline(100 * level, color=styles[row].light, linewidth=1.3, linestyle=":")
        ends.append(Label(axes.get_xlim()[1], 100 * level, row, styles[row].light))
    axes.set_xlabel(axis.label)
    axes.set_ylabel(quality)
    end_labels(axes, ends)
    return figure


@in_house_style
def loss_by_size(lines: Sequence[Scaling], axis: SizeAxis, loss: str, styles: Mapping[str, RowStyle]) -> Figure:
    """Held-out loss of every run at each size, both axes logarithmic, and the fitted laws; rows without a law join their means."""
    texts = {line.row: _end_text(line) for line in lines}
    fitted = any(isinstance(line.law, PowerLaw) for line in lines)
    key = [KeyEntry("fitted law", MUTED, line="-"), KeyEntry("means, no law", MUTED, line=":")] if fitted else []
    figure, axes = panel(2.6, key, bottom=0.66 if axis.names else 0.5, right=0.28 + max(text_inches(text) for text in texts.values()))
    sizes = sorted({point.size for line in lines for point in line.points})
    sizes_axis(axes, sizes, axis.names)
    axes.set_yscale("log")
    values = [run for line in lines for point in line.points for run in (*point.runs, point.value)]
    axes.set_ylim(min(values) / 1.12, max(values) * 1.12)
    log_axis(axes.yaxis, min(values), max(values))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    ends = []
    for line in lines:
        style = styles[line.row]
        for point in line.points:
            axes.plot([point.size] * len(point.runs), point.runs, color=style.light, marker=".", markersize=4, linewidth=0, alpha=0.5)
        x, y = [point.size for point in line.points], [point.value for point in line.points]
        axes.plot(x, y, linewidth=0, markersize=6, **style.look)
        if isinstance(line.law, PowerLaw):
            smooth = np.geomspace(x[0], x[-1], 60)
            axes.plot(smooth, line.law.at(smooth), color=style.light, linewidth=1.6)
        else:
            axes.plot(x, y, color=style.light, linewidth=1.2, linestyle=":")
        ends.append(Label(x[-1], y[-1], texts[line.row], style.light))
    axes.set_xlabel(axis.label)
    axes.set_ylabel(loss)
    end_labels(axes, ends)
    return figure


def _end_text(line: Scaling) -> str:
    return f"{line.row}, b = {line.law.b:.2g}" if isinstance(line.law, PowerLaw) else line.row
