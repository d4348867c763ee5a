"""Figures of quality against what it cost, with the front of rows that no other beats in both, and of costs against model size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator

from codetune.study.plot_labels import KeyEntry, Label, end_labels, point_labels, text_inches
from codetune.study.plots import INK, MODEL_MARKERS, MUTED, RowStyle, in_house_style, panel
from codetune.study.tables import format_bytes, format_rate, format_seconds

_STEPS = (1, 2, 5, 10, 15, 20, 30)  # of seconds and minutes, as a clock has them


@dataclass(frozen=True, slots=True)
class Point:
    """One row's quality (0..1, with its interval) and its cost; a cost of None means that nothing was trained."""

    row: str
    model: str
    quality: float
    low: float | None
    high: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """A kind of cost: `name` begins a file's name, `write` puts a value on the axis."""

    name: str
    title: str
    axis: str
    write: Callable[[float], str]


MEMORY = Cost("memory", "Quality against memory", "peak memory of training", lambda value: format_bytes(value) if value else "0")
TIME = Cost("time", "Quality against training time", "training time", lambda value: _round_time(value) if value else "0")
SHARE = Cost("share", "Quality against the share trained", "share of parameters trained", lambda value: f"{100 * value:g}%")


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which (cost, quality) no other beats: those for which nothing as cheap is better and nothing as good cheaper; by rising cost.

    >>> pareto_front([(3, 0.9), (1, 0.5), (2, 0.4), (4, 0.9)])
    [1, 0]
    """
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1], index)):
        if not found or points[index][1] > points[found[-1]][1]:
            found.append(index)
    return found


@in_house_style
def quality_against(points: Sequence[Point], cost: Cost, styles: Mapping[str, RowStyle], quality: str) -> Figure:
    """Quality against one cost: a point a row, its 95% interval, the front as steps, rows that train nothing as dotted levels.

    With one model markers are the rows'; with several they are the models', and the front alone is labelled.
    """
    models = list(dict.fromkeys(point.model for point in points))
    tuned = [point for point in points if point.cost is not None and point.cost > 0]
    levels = [point for point in points if point.cost is None]
    marker = dict(zip(models, (MODEL_MARKERS * (1 + len(models) // len(MODEL_MARKERS))), strict=False)) if len(models) > 1 else {}
    level_names = [_level_name(point, len(models)) for point in levels]
    figure, axes = panel(2.75, _key(tuned, models, marker, styles), right=max([0.16, *(0.2 + text_inches(name) for name in level_names)]))
    front = [tuned[index] for index in pareto_front([(point.cost or 0.0, point.quality) for point in tuned])]
    _axes(axes, tuned, points, cost)
    _front(axes, front)
    for point in tuned:
        _mark(axes, point, styles[point.row], marker.get(point.model, styles[point.row].marker))
    for point in levels:
        axes.axhline(100 * point.quality, color=styles[point.row].light, linewidth=1.3, linestyle=styles[point.row].dash)
    right = axes.get_xlim()[1]
    end_labels(
        axes, [Label(right, 100 * p.quality, name, styles[p.row].light) for p, name in zip(levels, level_names, strict=True)]
    )
    named = tuned if len(models) == 1 else front
    everything = [(point.cost or 0.0, 100 * point.quality) for point in tuned]
    left_of_the_front = 6  # where by its meaning nothing stands
    labels = [Label(p.cost or 0.0, 100 * p.quality, _point_name(p, len(models)), styles[p.row].light) for p in named]
    point_labels(axes, labels, everything, left_of_the_front)
    axes.set_xlabel(cost.axis)
    axes.set_ylabel(quality)
    return figure


@in_house_style
def against_model_size(
    lines: Mapping[str, Sequence[tuple[float, float]]], names: Mapping[float, str], styles: Mapping[str, RowStyle], what: str, memory: bool
) -> Figure:
    """Tokens/s, or memory, of each row against the parameters of its model, both axes logarithmic; `names` are the models'."""
    figure, axes = panel(2.4, left=0.68, bottom=0.66, right=0.25 + max(text_inches(row) for row in lines))
    for row, values in lines.items():
        x, y = np.array(sorted(values), dtype=float).T
        axes.plot(x, y, linewidth=1.6, linestyle=styles[row].dash, markersize=6, **styles[row].look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    everything = [value for values in lines.values() for _, value in values]
    log_axis(axes.yaxis, min(everything), max(everything))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_bytes(value) if memory else format_rate(value)))
    sizes_axis(axes, sorted(names), names)
    axes.set_xlabel("parameters of the model")
    axes.set_ylabel(what)
    ends = [(row, max(values)) for row, values in lines.items()]
    end_labels(axes, [Label(*end, row, styles[row].light) for row, end in ends])
    return figure


def sizes_axis(axes: Axes, sizes: Sequence[float], names: Mapping[float, str] | None = None) -> None:
    """A logarithmic axis with ticks at the sizes that there are, those that would touch left out; names below their numbers."""
    axes.set_xscale("log")
    low, high = math.log(sizes[0]), math.log(sizes[-1])
    margin = 0.06 * (high - low) or 0.5
    axes.set_xlim(math.exp(low - margin), math.exp(high + margin))
    texts = {size: count_text(size) + (f"\n{names[size]}" if names else "") for size in sizes}
    inches = axes.get_window_extent().width / axes.figure.dpi
    kept: list[float] = []
    for size in sizes:
        apart = inches * math.log(size / kept[-1]) / (high - low + 2 * margin) if kept else inches
        if not kept or apart > _half(texts[size]) + _half(texts[kept[-1]]):
            kept.append(size)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: texts.get(min(sizes, key=lambda size: abs(size - value)), "")))
    axes.xaxis.set_minor_locator(FixedLocator([]))


def count_text(number: float) -> str:
    """A count in short: `1250` is `1.25k`, `124439808` is `124M`."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * limit:
            return f"{number / limit:.3g}{unit}"
    return f"{number:.0f}"


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis, finer where it spans less than a decade."""
    axis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 4, 5, 7) if high / low < 10 else (1, 2, 5) if high / low < 100 else (1,)))
    axis.set_minor_locator(FixedLocator([]))


def _round_time(seconds: float) -> str:
    return format_seconds(seconds).removesuffix(" 0 s").removesuffix(" 0 min")


def _half(text: str) -> float:
    return 0.05 + max(text_inches(line, 9) for line in text.split("\n")) / 2


def _key(tuned: Sequence[Point], models: Sequence[str], marker: Mapping[str, str], styles: Mapping[str, RowStyle]) -> list[KeyEntry]:
    entries = [KeyEntry("best for its cost", MUTED, line="-")] if len(tuned) > 1 else []
    if len(models) == 1:
        return entries
    rows = list(dict.fromkeys(point.row for point in tuned))
    entries += [KeyEntry(row, styles[row].light, "o", styles[row].hollow) for row in rows]
    return entries + [KeyEntry(model, INK, marker[model]) for model in models]


def _level_name(point: Point, models: int) -> str:
    return point.row if models == 1 else f"{point.row}, {point.model}"


def _point_name(point: Point, models: int) -> str:
    return point.row if models == 1 else f"{point.row}, {point.model}"


def _mark(axes: Axes, point: Point, style: RowStyle, marker: str) -> None:
    x, y = point.cost or 0.0, 100 * point.quality
    if point.low is not None and point.high is not None:
        axes.plot([x, x], [100 * point.low, 100 * point.high], color=style.light, linewidth=1.5, alpha=0.55, solid_capstyle="round")
    axes.plot([x], [y], markersize=7, linewidth=0, clip_on=False, **(style.look | {"marker": marker}))


def _front(axes: Axes, front: Sequence[Point]) -> None:
    """Steps from the cheapest up: between two points nothing that is as cheap does better than the lower."""
    if not front:
        return
    x = [point.cost or 0.0 for point in front]
    y = [100 * point.quality for point in front]
    axes.plot([*x, axes.get_xlim()[1]], [*y, y[-1]], color=MUTED, linewidth=1.1, drawstyle="steps-post", zorder=1)


def _axes(axes: Axes, tuned: Sequence[Point], points: Sequence[Point], cost: Cost) -> None:
    highest = max(100 * (point.quality if point.high is None else point.high) for point in points)
    axes.set_ylim(0, 1.06 * highest or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    costs = [point.cost for point in tuned if point.cost is not None]
    low, high = (min(costs), max(costs)) if costs else (0.0, 1.0)
    if low > 0 and high / low > 8:
        axes.set_xscale("log")
        axes.set_xlim(low / (high / low) ** 0.08, high * (high / low) ** 0.12)
        subs = (1, 3) if high / low < 300 else (1,)
        axes.xaxis.set_major_locator(LogLocator(10, subs=subs, numticks=9))
    else:
        axes.set_xlim(0, 1.15 * high)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 3, 5, 6, 10]))
    if cost is TIME:
        _clock(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: cost.write(value)))


def _clock(axes: Axes) -> None:
    """Ticks at round seconds, minutes or hours."""
    low, high = axes.get_xlim()
    round_times: list[float] = [step * unit for unit in (1, 60) for step in _STEPS]
    round_times += [3600 * step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500)]
    if axes.get_xscale() == "log":
        ticks = [time for time in round_times if low <= time <= high]
        every = 1 + len(ticks) // 6
        ticks = ticks[::every]
    else:
        step = next((time for time in round_times if high / time <= 5), high)
        ticks = [step * count for count in range(int(high / step) + 1)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))


