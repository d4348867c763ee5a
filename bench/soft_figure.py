"""The figure of the study of packing: training loss against CPU seconds, a panel for each method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.soft_parts import METHODS, SYSTEMS
from codetune.study.plots import style_of, write_figure


def draw(record: dict[str, Any], path: Path) -> None:
    """Write `path` with the endings .png and .svg: a line for each training, thick for the first seed."""
    styles = style_of([one.name for one in SYSTEMS])
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels = figure.subplots(1, len(METHODS), sharey=True)
    for panel, method in zip(panels, METHODS, strict=True):
        for one in SYSTEMS:
            runs = [run for run in record["runs"].values() if (run["method"], run["system"]["name"]) == (method, one.name)]
            for run in runs:
                if "failed" in run:
                    continue
                first = run["seed"] == 0
                panel.plot(
                    run["cpu_at"], run["losses"], color=styles[one.name].light, linewidth=1.8 if first else 0.9, alpha=1 if first else 0.6,
                    label=one.name if first else None,
                )  # fmt: skip
        panel.set_title(method.replace("_", "-").capitalize(), loc="left", fontsize=10, fontweight="bold")
        panel.set_xlabel("CPU seconds since the first step")
        panel.set_xlim(left=0)
        panel.grid(axis="y", color="#e3e7ee")
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_ylabel("training loss, nats per supervised token")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(SYSTEMS), frameon=False)
    write_figure(figure, path)
