"""The figures of docs/performance.md: measured ratios beside must, aim and limit, and how cost grows with size."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.page import measured_targets
from codetune.study.plots import FAILED, GRID, INK, MUTED, PASSED, in_house_style, style_of, write_figure

Json = dict[str, Any]
_MEMORY_COLORS = {"codetune": PASSED, "codetune, least": "#7fb5b0", "TRL": FAILED, "TRL, no checkpointing": "#d99a9a", "forecast": INK}
_COLORS = {"met aim": PASSED, "met must": "#7fb5b0", "below must": FAILED}


def write(records: Sequence[Json], folder: Path) -> None:
    """Write the figures that the records have material for, as SVG and PNG."""
    bars = [found for found in measured_targets(records) if found[1].unit == "x" and found[1].aim > found[1].must]
    if bars:
        write_figure(goals_figure(bars), folder / "goals")
    for found in records:
        for figure in found.get("figures", ()):
            made = memory_figure(figure) if figure.get("kind") == "memory" else growth_figure(figure)
            write_figure(made, folder / figure["file"].removesuffix(".svg"))


@in_house_style
def goals_figure(bars: Sequence[tuple[Any, Any, Json]]) -> Figure:
    """A bar for each measured ratio; a tick at its must, a longer one at its aim, a dot at its limit."""
    height = 0.42 * len(bars) + 1.1
    figure = Figure(figsize=(9.0, height), layout="constrained")
    axes = figure.subplots()
    for at, (_, target, row) in enumerate(bars):
        axes.barh(at, row["ratio"] - 1, left=1, height=0.5, color=_COLORS[target.place(row["ratio"])])
        axes.annotate(f"{row['ratio']:.2f}x", (1, at), (6, 0), ("axes fraction", "data"), "offset points", va="center", fontweight="bold")
        for value, reach in ((target.must, 0.3), (target.aim, 0.42)):
            axes.plot([value, value], [at - reach, at + reach], color=INK, linewidth=1.6 if reach < 0.4 else 1.0)
        if target.limit is not None:
            axes.plot(target.limit, at, marker="o", color=MUTED, markersize=4)
    labels = [f"{goal.name}  {row['what']}, against {target.against}" for goal, target, row in bars]
    axes.set_yticks(range(len(bars)), ["\n".join(textwrap.wrap(label, 52)) for label in labels], color=INK)
    axes.invert_yaxis()
    axes.set_xscale("log")
    ends = [end for _, target, row in bars for end in (row["ratio"], target.aim, target.limit or 1)]
    shortest, longest = min(1.0, *ends), max(ends)
    axes.set_xlim(shortest / 1.02, longest * 1.05)
    ticks = [one for one in (0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if shortest <= one <= longest]
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
def memory_figure(figure: Json) -> Figure:
    """A panel for each method, a group of bars for each model. `figure`: `bars` of `model`, `method`, and `gb` by whose they are."""
    bars = figure["bars"]
    methods, names = (list(dict.fromkeys(found)) for found in ([bar["method"] for bar in bars], [who for bar in bars for who in bar["gb"]]))
    made = Figure(figsize=(10.0, 2.4 * len(methods) + 0.6), layout="constrained")
    for axes, method in zip(made.subplots(len(methods), 1, squeeze=False)[:, 0], methods, strict=True):
        own = [bar for bar in bars if bar["method"] == method]
        for number, name in enumerate(names):
            places = [(at + (number + 0.5) / (len(names) + 1) - 0.5, bar["gb"][name]) for at, bar in enumerate(own) if name in bar["gb"]]
            look: dict[str, Any] = {"color": _MEMORY_COLORS.get(name, MUTED)}
            look = look | {"fill": False, "edgecolor": look["color"], "hatch": "///"} if name in ("forecast", "published") else look
            axes.bar([at for at, _ in places], [size for _, size in places], width=0.9 / (len(names) + 1), label=name, **look)
        axes.set_xticks(range(len(own)), [bar["model"] for bar in own])
        axes.set_ylabel("GB")
        axes.set_title(method, loc="left", fontsize=10)
        axes.grid(axis="x", visible=False)
    labelled = {label: handle for axes in made.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    made.legend(list(labelled.values()), list(labelled), loc="outside upper right", ncols=len(labelled), frameon=False)
    return made


@in_house_style
def growth_figure(figure: Json) -> Figure:
    """Panels of curves on logarithmic axes. `figure`: `panels` of `title`, `x`, `y` and `curves` of `name`, `x`, `y`."""
    panels = figure["panels"]
    styles = style_of(list(dict.fromkeys(curve["name"] for panel in panels for curve in panel["curves"])))
    made = Figure(figsize=(5.0 * len(panels), 3.9), layout="constrained")
    for axes, panel in zip(made.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for curve in panel["curves"]:
            axes.plot(curve["x"], curve["y"], label=curve["name"], linewidth=1.6, markersize=5, **styles[curve["name"]].look)
        axes.set_xscale("log")
        axes.set_yscale("log")
        sizes = sorted({size for curve in panel["curves"] for size in curve["x"]})
        axes.set_xticks(sizes, [short(size) for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        values = [value for curve in panel["curves"] for value in curve["y"]]
        axes.set_ylim(min(values) / 1.6, max(values) * 1.6)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(values) < 100 * min(values) else (1.0,), numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.set_xlabel(panel["x"])
        axes.set_title(panel["y"], loc="left")
        axes.spines[["top", "right", "left"]].set_visible(False)
        made_key = axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.16))
        made_key.set_in_layout(True)
    return made


def short(value: float) -> str:
    """A number in few characters.

    >>> [short(value) for value in (0.00025, 3, 4096, 1_000_000, 2.5e9)]
    ['0.00025', '3', '4.1k', '1M', '2.5G']
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.2g}{letter}" if value < 100 * size else f"{value / size:.0f}{letter}"
    return f"{value:.3g}"
