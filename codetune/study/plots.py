"""The report's figures: plain series in, one matplotlib `Figure` out, written as PNG, SVG and as SVG to put into a page.

A row has the same colour and marker in every figure (`style_of`). The palette is Okabe and Ito's, which colour-blind readers can
tell apart; markers and direct labels say the same again without colour.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from codetune.study.tables import format_bytes, format_seconds

Drawing = ParamSpec("Drawing")

INK, MUTED, GRID = "#1c2330", "#667085", "#e3e7ee"
PASSED, FAILED = "#0b7a75", "#c8553d"


@dataclass(frozen=True, slots=True)
class RowStyle:
    """How one row is drawn: `light` and `dark` are its colour on either background."""

    light: str
    dark: str
    marker: str
    dash: str = "-"


_STYLES = {
    "base": RowStyle("#7b8494", "#98a2b3", "o", ":"),
    "base few-shot": RowStyle("#454e5e", "#cdd3dd", "s", ":"),
    "full": RowStyle("#0072b2", "#4aa8e0", "D"),
    "lora": RowStyle("#d55e00", "#f28a3f", "^"),
    "prefix_tuning": RowStyle("#009e73", "#2cc79b", "v"),
    "prompt_tuning": RowStyle("#b8548f", "#e08cc0", "P"),
}
_MORE = (
    RowStyle("#c98500", "#f0b429", "X"),
    RowStyle("#3f9ecb", "#7cc8ee", "<"),
    RowStyle("#6f4fb0", "#a78be0", ">"),
    RowStyle("#8a6d3b", "#c9a66b", "h"),
    RowStyle("#5d7f1f", "#a3cc52", "p"),
    RowStyle("#a32a4a", "#ec7f9b", "*"),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One training run: tokens seen against loss; `validation` holds (tokens, loss) where it was measured."""

    row: str
    training: Sequence[tuple[float, float]]
    validation: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Point:
    """One row's quality (0..1, with its interval) and what it cost; a cost of None means that nothing was trained."""

    row: str
    quality: float
    low: float | None
    high: float | None
    seconds: float | None
    share: float | None
    memory_bytes: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `value` in 0..1 with its interval, where there is one."""

    row: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None


def style_of(rows: Sequence[str]) -> dict[str, RowStyle]:
    """A style for every row of a study; the usual rows always get the same one.

    >>> style_of(["lora r=64", "lora"])["lora"].light
    '#d55e00'
    """
    others = [row for row in rows if row not in _STYLES]
    extra = {row: _MORE[number % len(_MORE)] for number, row in enumerate(others)}
    return {row: _STYLES.get(row) or extra[row] for row in rows}


def _in_house_style(draw: Callable[Drawing, Figure]) -> Callable[Drawing, Figure]:
    """Text takes its font and colour when it is made, so a figure is drawn under the settings it is written under."""

    @functools.wraps(draw)
    def styled(*args: Drawing.args, **kwargs: Drawing.kwargs) -> Figure:
        with matplotlib.rc_context(_settings()):
            return draw(*args, **kwargs)

    return styled


@_in_house_style
def loss_curves(curves: Sequence[Curve], styles: Mapping[str, RowStyle]) -> Figure:
    """Training loss and validation loss against text tokens seen, side by side on one scale."""
    figure, (left, right) = _figure(1, 2, (9.6, 3.7), sharey=True)
    for curve in curves:
        style = styles[curve.row]
        if curve.training:
            tokens, losses = np.array(curve.training, dtype=float).T
            left.plot(tokens, losses, color=style.light, alpha=0.22, linewidth=0.9)
            left.plot(tokens, _smoothed(losses), color=style.light, linewidth=1.9)
        if curve.validation:
            tokens, losses = np.array(curve.validation, dtype=float).T
            right.plot(tokens, losses, color=style.light, linewidth=1.9, marker=style.marker, markersize=5, markeredgewidth=0)
    left.set_title("Training loss", loc="left")
    right.set_title("Validation loss", loc="left")
    left.set_ylabel("nats per supervised token")
    for axes in (left, right):
        axes.set_xlabel("text tokens seen")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if value else "0"))
    shown = list(dict.fromkeys(curve.row for curve in curves))
    _legend(figure, shown, styles)
    return figure


@_in_house_style
def quality_against_cost(points: Sequence[Point], styles: Mapping[str, RowStyle], quality: str) -> Figure:
    """Quality against training time, share of parameters trained and peak memory; untrained rows are dashed levels."""
    figure, panels = _figure(1, 3, (9.6, 3.7), sharey=True)
    costs: tuple[tuple[str, Callable[[Point], float | None], Callable[[float, int], str]], ...] = (
        ("training time", lambda p: p.seconds, lambda v, _: format_seconds(v) if v else "0"),
        ("share of parameters trained", lambda p: p.share, lambda v, _: f"{100 * v:g}%"),
        ("peak memory", lambda p: p.memory_bytes, lambda v, _: format_bytes(v) if v else "0"),
    )
    for axes, (label, cost, formatter) in zip(panels, costs, strict=True):
        for point in points:
            _cost_point(axes, point, cost(point) if point.share is not None else None, styles[point.row])
        _cost_axis(axes, [c for p in points if p.share is not None and (c := cost(p))], formatter)
        axes.set_xlabel(label)
    panels[0].set_ylabel(quality)
    panels[0].set_ylim(bottom=0)
    _legend(figure, [point.row for point in points], styles)
    return figure


@_in_house_style
def grouped_bars(bars: Sequence[Bar], styles: Mapping[str, RowStyle]) -> Figure:
    """One group of bars per metric, one bar per row, with 95% intervals."""
    metrics = list(dict.fromkeys(bar.metric for bar in bars))
    rows = list(dict.fromkeys(bar.row for bar in bars))
    figure, (axes,) = _figure(1, 1, (9.6, 3.9))
    width = 0.82 / max(1, len(rows))
    for bar in bars:
        x = metrics.index(bar.metric) + (rows.index(bar.row) - (len(rows) - 1) / 2) * width
        axes.bar(x, 100 * bar.value, width * 0.88, color=styles[bar.row].light, linewidth=0)
        top = bar.value if bar.high is None else bar.high
        if bar.low is not None and bar.high is not None:
            axes.plot([x, x], [100 * bar.low, 100 * bar.high], color=INK, linewidth=1.1, solid_capstyle="butt")
        axes.annotate(f"{100 * bar.value:.0f}", (x, 100 * top), (0, 3), textcoords="offset points", ha="center", fontsize=7.5, color=MUTED)
    axes.set_xticks(range(len(metrics)), metrics)
    axes.tick_params(axis="x", length=0, labelcolor=INK, labelsize=9.5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("0 to 100")
    _legend(figure, rows, styles)
    return figure


@_in_house_style
def bleu_by_verdict(scores: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Sentence BLEU of each completion, those that passed their tests above those that did not; the tick is the median.

    `scores` maps a row to (BLEU of passed, BLEU of failed), in 0..1.
    """
    figure, (axes,) = _figure(1, 1, (9.6, 0.85 + 0.62 * max(1, len(scores))))
    jitter = np.random.default_rng(0)
    for number, (passed, failed) in enumerate(scores.values()):
        for values, offset, color in ((passed, -0.19, PASSED), (failed, 0.19, FAILED)):
            if not len(values):
                continue
            x = 100 * np.asarray(values)
            y = number + offset + jitter.uniform(-0.13, 0.13, len(x))
            axes.scatter(x, y, s=9, color=color, alpha=0.38, linewidths=0)
            axes.plot([np.median(x)] * 2, [number + offset - 0.18, number + offset + 0.18], color=INK, linewidth=2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9.5)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", visible=True)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlim(-1.5, 101.5)
    axes.set_xlabel("sentence BLEU-4 against the reference")
    handles = [axes.scatter([], [], s=30, color=color, linewidths=0) for color in (PASSED, FAILED)]
    figure.legend(handles, ["passed its tests", "did not pass"], loc="outside upper left", ncols=2, frameon=False, handletextpad=0.2)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """`path` with the endings .png and .svg, on white; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_settings() | {"svg.hashsalt": path.name}):
        figure.savefig(path.with_suffix(".png"), dpi=160, facecolor="white", metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), facecolor="white", metadata={"Date": None})


def inline_svg(path: Path, styles: Mapping[str, RowStyle], label: str) -> str:
    """The SVG that `write_figure` wrote, for a page: no background, the page's font, and colours as CSS variables.

    Ids are prefixed with the file's name, so that several figures can share a page.
    """
    svg = path.with_suffix(".svg").read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the white sheet
    svg = re.sub(r'(id="|href="#|url\(#)', lambda found: f"{found[0]}plot-{path.stem}-", svg)
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    # Older versions of matplotlib write the shorthand instead.
    svg = re.sub(r"font: (?:(\w+) )?([\d.]+px)[^;\"]*", lambda found: f"font-weight: {found[1] or 'normal'}; font-size: {found[2]}", svg)
    for color, variable in _variables(styles).items():
        svg = re.sub(re.escape(color), f"var({variable})", svg, flags=re.IGNORECASE)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def color_variable(styles: Mapping[str, RowStyle], row: str) -> str:
    """The CSS variable that holds a row's colour."""
    return f"--row-{list(styles).index(row)}"


def _variables(styles: Mapping[str, RowStyle]) -> dict[str, str]:
    rows = {style.light: color_variable(styles, row) for row, style in styles.items()}
    return {INK: "--ink", MUTED: "--muted", GRID: "--grid", PASSED: "--passed", FAILED: "--failed", **rows}


def _figure(rows: int, columns: int, inches: tuple[float, float], sharey: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=inches, layout="constrained")
    panels = list(np.atleast_1d(figure.subplots(rows, columns, sharey=sharey)).flat)
    for axes in panels:
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure, panels


def _settings() -> dict[str, Any]:
    return {
        "font.family": [_font(), "sans-serif"],
        "font.size": 9,
        "text.color": INK,
        "axes.facecolor": "none",
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlecolor": INK,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.minor.size": 0,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "text.parse_math": False,  # a row's label may hold a dollar sign
        "svg.fonttype": "none",
    }


@functools.cache
def _font() -> str:
    """The first of the fonts we like that is installed; matplotlib always brings the last."""
    installed = set(font_manager.get_font_names())
    return next(name for name in ("Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans") if name in installed)


def _legend(figure: Figure, rows: Sequence[str], styles: Mapping[str, RowStyle]) -> None:
    axes = figure.axes[0]
    look: dict[str, Any] = {"linewidth": 0, "markersize": 6, "markeredgewidth": 0}
    handles = [axes.plot([], [], color=styles[row].light, marker=styles[row].marker, **look)[0] for row in rows]
    columns = min(6, len(rows))
    figure.legend(handles, list(rows), loc="outside upper left", ncols=columns, frameon=False, handletextpad=0.1, columnspacing=1.4)


def _cost_point(axes: Axes, point: Point, cost: float | None, style: RowStyle) -> None:
    quality = 100 * point.quality
    if not cost:
        axes.axhline(quality, color=style.light, linewidth=1.3, linestyle=style.dash)
        return
    if point.low is not None and point.high is not None:
        axes.plot([cost, cost], [100 * point.low, 100 * point.high], color=style.light, linewidth=1.6, alpha=0.6, solid_capstyle="round")
    axes.plot([cost], [quality], color=style.light, marker=style.marker, markersize=8, markeredgewidth=0, linewidth=0)


def _cost_axis(axes: Axes, costs: Sequence[float], formatter: Callable[[float, int], str]) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(formatter))
    if not costs:
        return
    low, high = min(costs), max(costs)
    if high / low > 20:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(formatter))
        axes.set_xlim(low / 2.5, high * 2.5)
    else:
        axes.set_xlim(0, 1.15 * high)
        axes.xaxis.set_major_locator(MaxNLocator(4))


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean over a tenth of the curve, over what there is of it at the ends."""
    half = max(1, len(losses) // 20)
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    index = np.arange(len(losses))
    start, end = np.maximum(index - half, 0), np.minimum(index + half + 1, len(losses))
    return np.asarray((sums[end] - sums[start]) / (end - start))
