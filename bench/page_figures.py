"""The figures of docs/performance.md: measured ratios beside must, aim and limit, and how cost grows with size."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.page import measured_targets
from codetune.study.plots import FAILED, GRID, INK, MUTED, PASSED, in_house_style, style_of, write_figure

Json = dict[str, Any]
_COLORS = {"met aim": PASSED, "met must": "#7fb5b0", "below must": FAILED}


def write(records: Sequence[Json], folder: Path) -> None:
    """Write the figures that the records have material for, as SVG and PNG."""
    bars = [found for found in measured_targets(records) if found[1].unit == "x" and found[1].aim > found[1].must]
    if bars:
        write_figure(goals_figure(bars), folder / "goals")
    for found in records:
        for figure in found.get("figures", ()):
            write_figure(growth_figure(figure), folder / figure["file"].removesuffix(".svg"))


@in_house_style
def goals_figure(bars: Sequence[tuple[Any, Any, Json]]) -> Figure:
    """A bar for each measured ratio; a tick at its must, a longer one at its aim, a dot at its limit."""
    height = 0.42 * len(bars) + 1.1
    figure = Figure(figsize=(9.0, height), layout="constrained")
    axes = figure.subplots()
    for at, (_, target, row) in enumerate(bars):
        axes.barh(at, row["ratio"] - 1, left=1, height=0.5, color=_COLORS[target.place(row["ratio"])])
        axes.annotate(f"{row['ratio']:.2f}x", (row["ratio"], at), (4, 0), textcoords="offset points", va="center", fontweight="bold")
        for value, reach in ((target.must, 0.3), (target.aim, 0.42)):
            axes.plot([value, value], [at - reach, at + reach], color=INK, linewidth=1.6 if reach < 0.4 else 1.0)
        if target.limit is not None:
            axes.plot(target.limit, at, marker="o", color=MUTED, markersize=4)
    labels = [f"{goal.name}  {row['what']}, against {target.against}" for goal, target, row in bars]
    axes.set_yticks(range(len(bars)), ["\n".join(textwrap.wrap(label, 52)) for label in labels], color=INK)
    axes.invert_yaxis()
    axes.set_xscale("log")
    longest = max(max(row["ratio"], target.aim) for _, target, row in bars)
    ticks = [one for one in (0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if one <= 1.3 * longest]
    axes.set_xticks(ticks, [f"{one:g}x" for one in ticks])
    axes.grid(axis="x", color=GRID)
    axes.grid(axis="y", visible=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    marks = [
        Line2D([], [], color=INK, linewidth=1.6, marker="|", linestyle="", markersize=8, label="must"),
        Line2D([], [], color=INK, linewidth=1.0, marker="|", linestyle="", markersize=12, label="aim"),
        Line2D([], [], color=MUTED, marker="o", linestyle="", markersize=4, label="limit"),
    ]
    figure.legend(handles=marks, loc="outside upper right", ncols=3, frameon=False)
    return figure


@in_house_style
def growth_figure(figure: Json) -> Figure:
    """Panels of curves on logarithmic axes. `figure`: `panels` of `title`, `x`, `y` and `curves` of `name`, `x`, `y`."""
    panels = figure["panels"]
    names = list(dict.fromkeys(curve["name"] for panel in panels for curve in panel["curves"]))
    styles = style_of(names)
    made = Figure(figsize=(4.6 * len(panels), 3.7), layout="constrained")
    for axes, panel in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for curve in panel["curves"]:
            axes.plot(curve["x"], curve["y"], label=curve["name"], linewidth=1.6, markersize=5, **styles[curve["name"]].look)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(panel["title"], loc="left")
        axes.set_xlabel(panel["x"])
        axes.set_ylabel(panel["y"])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return made
