"""The house style of the report's figures: colours and markers of rows, panels, and figures written as PNG, SVG and SVG for a page.

A row has the same colour and marker in every figure (`style_of`). The palette is Okabe and Ito's, which colour-blind readers can
tell apart; markers and direct labels say the same again without colour. A figure is one panel that a phone can show whole, so that
two stand side by side on a screen. The `plots_*` modules draw, from plain series.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codetune.study import cells
from codetune.study.plot_labels import KEY_LINE, KeyEntry, draw_key, key_lines

Drawing = ParamSpec("Drawing")

INK, MUTED, GRID = "#1c2330", "#656f84", "#e3e7ee"
PASSED, FAILED = "#0a7873", "#c8553d"
PANEL_WIDTH = 5.0  # inches; text of 9 points is then 8 pixels high on a phone of 390
TUNED = f" {cells.TUNED}"  # ends the name of a row whose settings were searched for


@dataclass(frozen=True, slots=True)
class RowStyle:
    """How one row is drawn: `light` and `dark` are its colour on either background; the markers of searched rows are hollow."""

    light: str
    dark: str
    marker: str
    dash: str | tuple[float, tuple[float, ...]] = "-"
    hollow: bool = False

    @property
    def look(self) -> dict[str, Any]:
        """Its marker, for matplotlib."""
        inside = "white" if self.hollow else self.light
        return {"color": self.light, "marker": self.marker, "markerfacecolor": inside, "markeredgewidth": 1.5 if self.hollow else 0.0}


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
MODEL_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "h")  # where colour is the method and models are told by shape


def style_of(rows: Sequence[str]) -> dict[str, RowStyle]:
    """A style for every row of a study; the usual rows always get the same one, a searched row that of its method, hollow and dashed.

    >>> style_of(["lora r=64", "lora"])["lora"].light
    '#d55e00'
    """
    plain = list(dict.fromkeys(row if row in _STYLES else row.removesuffix(TUNED) for row in rows))
    others = [row for row in plain if row not in _STYLES]
    found = _STYLES | {row: _MORE[number % len(_MORE)] for number, row in enumerate(others)}
    searched = {row: replace(found[row.removesuffix(TUNED)], dash=(0, (4, 1.5)), hollow=True) for row in rows if row.endswith(TUNED)}
    return {row: searched.get(row) or found[row] for row in rows}


def in_house_style(draw: Callable[Drawing, Figure]) -> Callable[Drawing, Figure]:
    """Text takes its font and colour when it is made, so a figure is drawn under the settings it is written under."""

    @functools.wraps(draw)
    def styled(*args: Drawing.args, **kwargs: Drawing.kwargs) -> Figure:
        with matplotlib.rc_context(_settings()):
            return draw(*args, **kwargs)

    return styled


def panel(height: float, key: Sequence[KeyEntry] = (), left: float = 0.58, right: float = 0.16, bottom: float = 0.5) -> tuple[Figure, Axes]:
    """A figure of one panel, all in inches: `height` is that of the plot itself; `key` stands above it, `right` is kept for labels."""
    lines = key_lines(key, PANEL_WIDTH)
    top = 0.14 + KEY_LINE * len(lines) + (0.06 if lines else 0.0)
    whole = height + top + bottom
    figure = Figure(figsize=(PANEL_WIDTH, whole))
    axes = figure.add_axes((left / PANEL_WIDTH, bottom / whole, (PANEL_WIDTH - left - right) / PANEL_WIDTH, height / whole))
    axes.spines[["top", "right", "left"]].set_visible(False)
    draw_key(figure, lines)
    return figure, axes


def write_figure(figure: Figure, path: Path) -> None:
    """`path` with the endings .png and .svg, on white; the same figure gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_settings() | {"svg.hashsalt": path.name}):
        figure.savefig(_ending(path, ".png"), dpi=160, facecolor="white", metadata={"Software": None})
        figure.savefig(_ending(path, ".svg"), facecolor="white", metadata={"Date": None})


def inline_svg(path: Path, styles: Mapping[str, RowStyle], label: str) -> str:
    """The SVG that `write_figure` wrote, for a page: no background, the page's font, and colours as CSS variables.

    Ids are prefixed with the file's name, so that several figures can share a page.
    """
    svg = _ending(path, ".svg").read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the white sheet
    svg = re.sub(r'(id="|href="#|url\(#)', lambda found: f"{found[0]}plot-{path.name}-", svg)
    svg = re.sub(r" ?font-family: [^;\"]*;?", "", svg)
    # Older versions of matplotlib write the shorthand instead.
    svg = re.sub(r"font: (?:(\w+) )?([\d.]+px)[^;\"]*", lambda found: f"font-weight: {found[1] or 'normal'}; font-size: {found[2]}", svg)
    for color, variable in _variables(styles).items():
        svg = re.sub(re.escape(color), f"var({variable})", svg, flags=re.IGNORECASE)
    # What is white on paper, the inside of a hollow mark, is the page's own surface.
    svg = svg.replace("fill: #ffffff", "fill: var(--surface)")
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*"', r"<svg \1", svg, count=1)
    # A hundredth of a point is finer than any screen; words between the tags keep their digits.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def color_variable(styles: Mapping[str, RowStyle], row: str) -> str:
    """The CSS variable that holds a row's colour."""
    return f"--row-{list(styles).index(row)}"


def thinned(values: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """A curve of at most so many points, each the mean of its neighbours: a long run is no longer to draw than a short one."""
    if len(values) <= most:
        return list(values)
    parts = np.array_split(np.array(values, dtype=float), most)
    return [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts]


def _ending(path: Path, ending: str) -> Path:
    """With an ending, whatever dots are in the name."""
    return path.with_name(path.name + ending)


def _variables(styles: Mapping[str, RowStyle]) -> dict[str, str]:
    rows = {style.light: color_variable(styles, row) for row, style in styles.items()}
    return {INK: "--ink", MUTED: "--muted", GRID: "--grid", PASSED: "--passed", FAILED: "--failed", **rows}


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
        "ytick.minor.size": 0,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "text.parse_math": False,  # a row's label may hold a dollar sign
        "axes.unicode_minus": True,
        "svg.fonttype": "none",
    }


@functools.cache
def _font() -> str:
    """The first of the fonts we like that is installed; matplotlib always brings the last."""
    installed = set(font_manager.get_font_names())
    return next(name for name in ("Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans") if name in installed)
