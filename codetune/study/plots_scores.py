"""Figures of scores: quality by row, text metric against execution by problem and by row, differences, and memory in its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from codetune.study.plot_labels import SIZE, KeyEntry, Label, point_labels, text_inches
from codetune.study.plots import FAILED, INK, MODEL_MARKERS, MUTED, PASSED, RowStyle, in_house_style, panel
from codetune.study.tables import format_bytes, format_points


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `value` in 0..1 with its interval, where there is one."""

    row: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class System:
    """One row as a point of two scores in 0..1, each with its interval where there is one: (value, low, high)."""

    row: str
    model: str
    text: tuple[float, float | None, float | None]
    passed: tuple[float, float | None, float | None]


@dataclass(frozen=True, slots=True)
class Gap:
    """A difference of two rows in 0..1 with its interval, and whether it tells them apart."""

    row: str
    other: str
    value: float
    low: float | None
    high: float | None
    distinct: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one row: the forecast of training's peak in its parts, and what was measured or forecast beside it."""

    parts: Mapping[str, float]
    training_peak: float | None = None
    generation_forecast: float | None = None
    generation_peak: float | None = None


@in_house_style
def grouped_bars(bars: Sequence[Bar], styles: Mapping[str, RowStyle]) -> Figure:
    """One group of bars for each metric, one bar for each row, with 95% intervals; bars lie, so that names can be read."""
    metrics = list(dict.fromkeys(bar.metric for bar in bars))
    by_metric = {metric: [bar for bar in bars if bar.metric == metric] for metric in metrics}
    count = sum(len(group) for group in by_metric.values()) + 1.3 * len(metrics)
    figure, axes = panel(0.19 * count, left=0.2 + max(text_inches(bar.row) for bar in bars), right=0.35, bottom=0.3)
    y, ticks, names = 0.0, [], []
    for metric, group in by_metric.items():
        axes.text(0, y - 0.05, metric, fontsize=9, fontweight="bold", color=INK, va="center")
        y += 1.0
        for bar in group:
            axes.barh(y, 100 * bar.value, 0.74, color=styles[bar.row].light, linewidth=0, alpha=0.55 if styles[bar.row].hollow else 1.0)
            if bar.low is not None and bar.high is not None:
                axes.plot([100 * bar.low, 100 * bar.high], [y, y], color=INK, linewidth=1.1, solid_capstyle="butt")
            end = 100 * max(bar.value, bar.high or 0.0)
            axes.annotate(f"{100 * bar.value:.1f}", (end, y), (4, 0), textcoords="offset points", va="center", fontsize=7.5, color=MUTED)
            ticks.append(y)
            names.append(bar.row)
            y += 1.0
        y += 0.3
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=SIZE)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_ylim(y - 0.6, -0.6)
    axes.set_xlim(0, 100 if max(bar.value for bar in bars) > 0.5 else 1.1 * max(100 * max(bar.value, bar.high or 0) for bar in bars) or 1)
    return figure


@in_house_style
def bleu_by_verdict(scores: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Sentence BLEU of each completion, those that passed their tests above those that did not; the tick is the median.

    `scores` maps a row to (BLEU of passed, BLEU of failed), in 0..1.
    """
    key = [KeyEntry("passed its tests", PASSED, "o"), KeyEntry("did not pass", FAILED, "o"), KeyEntry("median", INK, "|")]
    figure, axes = panel(0.5 * max(1, len(scores)), key, left=0.2 + max(text_inches(row) for row in scores))
    jitter = np.random.default_rng(0)
    for number, (passed, failed) in enumerate(scores.values()):
        for values, offset, color in ((passed, -0.2, PASSED), (failed, 0.2, FAILED)):
            if not len(values):
                continue
            x = 100 * np.asarray(values)
            y = number + offset + jitter.uniform(-0.14, 0.14, len(x))
            axes.scatter(x, y, s=7, color=color, alpha=0.38, linewidths=0)
            axes.plot([np.median(x)] * 2, [number + offset - 0.18, number + offset + 0.18], color=INK, linewidth=2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=SIZE)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlim(-1.5, 101.5)
    axes.set_xlabel("sentence BLEU-4 against the reference")
    return figure


@in_house_style
def text_against_execution(systems: Sequence[System], styles: Mapping[str, RowStyle], text: str, passed: str) -> Figure:
    """A text metric against the pass rate, a point for each row, with the intervals of both; models are told by shape, where several."""
    models = list(dict.fromkeys(system.model for system in systems))
    shape = dict(zip(models, MODEL_MARKERS * (1 + len(models) // len(MODEL_MARKERS)), strict=False)) if len(models) > 1 else {}
    rows = dict.fromkeys(system.row for system in systems) if shape else ()
    key = [KeyEntry(row, styles[row].light, "o", styles[row].hollow) for row in rows]
    key += [KeyEntry(model, INK, marker) for model, marker in shape.items()]
    figure, axes = panel(2.8, key)
    for limit, which in ((axes.set_xlim, "text"), (axes.set_ylim, "passed")):
        ends = [100 * end for system in systems for end in getattr(system, which) if end is not None]
        span = (max(ends) - min(ends)) or 1.0
        limit(max(0.0, min(ends) - 0.07 * span) - 0.012 * span, min(100.0, max(ends) + 0.07 * span) + 0.012 * span)
    taken = []
    for system in systems:
        style = styles[system.row]
        x, y = (100 * score[0] for score in (system.text, system.passed))
        for (_, low, high), across in ((system.text, True), (system.passed, False)):
            if low is not None and high is not None:
                ends = [100 * low, 100 * high]
                axes.plot(*((ends, [y, y]) if across else ([x, x], ends)), color=style.light, linewidth=1.2, alpha=0.5)
        axes.plot([x], [y], markersize=7, linewidth=0, clip_on=False, **(style.look | {"marker": shape.get(system.model, style.marker)}))
        taken.append(Label(x, y, system.row, style.light))
    axes.grid(axis="x", visible=True)
    for ruler in (axes.xaxis, axes.yaxis):
        ruler.set_major_locator(MaxNLocator(5))
    point_labels(axes, [] if shape else taken)
    axes.set_xlabel(text)
    axes.set_ylabel(passed)
    return figure


@in_house_style
def forest(gaps: Sequence[Gap], styles: Mapping[str, RowStyle], unit: str) -> Figure:
    """Differences with their intervals, one under another; those that tell two rows apart are filled and strong."""
    names = [f"{gap.row} − {gap.other}" for gap in gaps]
    key = [KeyEntry("told apart", INK, "o"), KeyEntry("not told apart", INK, "o", True)]
    left = min(2.3, 0.2 + max(text_inches(name) for name in names))
    figure, axes = panel(0.21 * (len(gaps) + 0.5), key, left=left, right=0.62)
    ends = [100 * end for gap in gaps for end in (gap.value, gap.low, gap.high, 0.0) if end is not None]
    span = (max(ends) - min(ends)) or 1.0
    axes.set_xlim(min(ends) - 0.04 * span, max(ends) + 0.04 * span)
    axes.axvline(0, color=INK, linewidth=1.0)
    for y, gap in enumerate(gaps):
        color, strong = styles[gap.row].light, 1.0 if gap.distinct else 0.55
        if gap.low is not None and gap.high is not None:
            axes.plot([100 * gap.low, 100 * gap.high], [y, y], color=color, linewidth=1.8, alpha=strong, solid_capstyle="round")
        axes.plot([100 * gap.value], [y], color=color, marker="o", markersize=6, markerfacecolor=color if gap.distinct else "white",
                  markeredgewidth=1.3, linewidth=0)  # fmt: skip
        axes.text(1.02, y, format_points(gap.value), transform=axes.get_yaxis_transform(), va="center", fontsize=SIZE,
                  fontweight="bold" if gap.distinct else "normal", color=INK if gap.distinct else MUTED)  # fmt: skip
    axes.set_yticks(range(len(gaps)), names)
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=SIZE if left < 2.3 else 7)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_ylim(len(gaps) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_points(value / 100, 0)))
    axes.set_xlabel(unit)
    return figure


_PARTS = ("#7b8494", "#c98500", "#0072b2", "#d55e00", "#009e73", "#b8548f", "#3f9ecb", "#8a6d3b")


@in_house_style
def memory_parts(rows: Mapping[str, Memory]) -> Figure:
    """Bytes of each row in parts, as bars laid end to end, with marks of what was measured; wide parts are named in the bar."""
    parts = list(dict.fromkeys(part for memory in rows.values() for part in memory.parts))
    colors = {part: _PARTS[number % len(_PARTS)] for number, part in enumerate(parts)}
    widest = max(sum(memory.parts.values()) for memory in rows.values())
    key = [KeyEntry(part, colors[part], "s") for part in parts] + [KeyEntry("training, measured", INK, "|")]
    key += [KeyEntry("generation, forecast", INK, "d", True), KeyEntry("generation, measured", INK, "d")]
    figure, axes = panel(0.34 * (len(rows) + 0.3), key, left=0.2 + max(text_inches(row) for row in rows), right=0.3)
    for y, memory in enumerate(rows.values()):
        start = 0.0
        for part, held in memory.parts.items():
            axes.barh(y, held, 0.6, left=start, color=colors[part], linewidth=0.6, edgecolor="white")
            if held / widest * 3.4 > text_inches(part, 6.5):
                axes.text(start + held / 2, y - 0.02, part, ha="center", va="center", fontsize=6.5, color="white")
            start += held
        if memory.training_peak:
            axes.plot([memory.training_peak] * 2, [y - 0.4, y + 0.4], color=INK, linewidth=2, solid_capstyle="butt")
        for value, inside in ((memory.generation_forecast, "white"), (memory.generation_peak, INK)):
            if value:
                look: dict[str, Any] = {"marker": "d", "markersize": 6, "markerfacecolor": inside, "markeredgewidth": 1.2}
                axes.plot([value], [y + 0.36], color=INK, linewidth=0, **look)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=SIZE)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_bytes(value) if value else "0"))
    return figure
