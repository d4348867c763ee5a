"""Figures of training: losses of every run with their mean, and the ladders of learning rates that a search walked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from codetune.study.plot_labels import KeyEntry, Label, end_labels, point_labels, text_inches
from codetune.study.plots import INK, MUTED, RowStyle, in_house_style, panel, thinned
from codetune.study.plots_cost import count_text, log_axis

FINISHED, PRUNED, FAILED = "finished", "pruned", "failed"
Run = Sequence[tuple[float, float]]  # tokens seen, loss


@dataclass(frozen=True, slots=True)
class Tried:
    """One trial of a search: `way` names its settings other than the learning rate, where they are not the default's."""

    row: str
    way: str
    rate: float
    loss: float | None
    state: str
    default: bool
    best: bool


@in_house_style
def loss_curves(curves: Mapping[str, Sequence[Run]], styles: Mapping[str, RowStyle], validation: bool) -> Figure:
    """Loss against text tokens seen: runs of a row pale, their mean strong (smoothed over a tenth of the steps when of training)."""
    figure, axes = panel(2.6, right=0.28 + max(text_inches(row) for row in curves))
    ends = []
    for row, runs in curves.items():
        style = styles[row]
        for run in runs if len(runs) > 1 or not validation else ():
            tokens, losses = np.array(thinned(run, 150), dtype=float).T
            axes.plot(tokens, losses, color=style.light, alpha=0.25, linewidth=0.8)
        tokens, losses = _mean_run(runs)
        if not validation:
            losses = _smoothed(losses)
        mark = style.look | {"markersize": 4.5} if validation else {"color": style.light}
        axes.plot(tokens, losses, linewidth=1.9, linestyle=style.dash, **mark)
        ends.append(Label(float(tokens[-1]), float(losses[-1]), row, style.light))
    axes.set_ylabel("nats per supervised token")
    axes.set_xlabel("text tokens seen")
    axes.set_xlim(0, max(label.x for label in ends))
    highest = max(loss for runs in curves.values() for run in runs for _, loss in run)
    axes.set_ylim(0, 1.05 * highest)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count_text(value)))
    end_labels(axes, ends)
    return figure


@in_house_style
def ladders(trials: Sequence[Tried], styles: Mapping[str, RowStyle]) -> Figure:
    """Validation loss of each trial against its learning rate, a line for each way; what was cut short or failed is marked so."""
    key = [KeyEntry("default", MUTED, "o", True), KeyEntry("best", INK, "*"), KeyEntry("finished", MUTED, "o")]
    key += [KeyEntry("cut short", MUTED, "d", True)] if any(trial.state == PRUNED for trial in trials) else []
    key += [KeyEntry("failed, at the top", MUTED, "x")] if any(trial.state == FAILED or trial.loss is None for trial in trials) else []
    figure, axes = panel(2.8, key)
    losses = [trial.loss for trial in trials if trial.loss is not None]
    low, high = (min(losses), max(losses)) if losses else (0.5, 1.0)
    axes.set_xscale("log")
    rates = [trial.rate for trial in trials]
    axes.set_xlim(min(rates) / 1.8, max(rates) * 1.8)
    if high / low > 6:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.2, high * 1.35)
        log_axis(axes.yaxis, low, high)
    else:
        span = (high - low) or 0.1 * high
        axes.set_ylim(low - 0.12 * span, high + 0.2 * span)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_major_locator(LogLocator(10, numticks=8))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    top, labels, places = axes.get_ylim()[1], [], []
    for row, way in dict.fromkeys((trial.row, trial.way) for trial in trials):
        own = sorted((trial for trial in trials if (trial.row, trial.way) == (row, way)), key=lambda trial: trial.rate)
        _ladder(axes, own, styles[row], top)
        places += [(trial.rate, top if trial.loss is None else trial.loss) for trial in own]
        ends = [(trial.rate, trial.loss) for trial in own if trial.loss is not None and trial.state == FINISHED]
        if ends:
            labels.append(Label(*min(ends, key=lambda end: end[1]), f"{row}, {way}" if way else row, styles[row].light))
    point_labels(axes, labels, places)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("validation loss of the trial")
    return figure


def _ladder(axes: Axes, trials: Sequence[Tried], style: RowStyle, top: float) -> None:
    line = [(trial.rate, trial.loss) for trial in trials if trial.state == FINISHED and trial.loss is not None]
    if len(line) > 1:
        axes.plot(*np.array(line, dtype=float).T, color=style.light, linewidth=1.5, linestyle=":" if trials[0].way else "-")
    look: dict[str, Any] = {"color": style.light, "linewidth": 0, "clip_on": False}
    for trial in trials:
        at = [trial.rate], [top if trial.loss is None or trial.state == FAILED else trial.loss]
        if trial.state == FAILED or trial.loss is None:
            axes.plot(*at, **look, marker="x", markersize=6, markeredgewidth=1.6)
        elif trial.state == PRUNED:
            axes.plot(*at, **look, marker="d", markersize=5.5, markerfacecolor="white", markeredgewidth=1.3)
        else:
            axes.plot(*at, **look, marker="*" if trial.best else "o", markersize=11 if trial.best else 5, markeredgewidth=0)
        if trial.default:
            axes.plot(*at, **look, marker="o", markersize=13, markerfacecolor="none", markeredgewidth=1.1)


def _mean_run(runs: Sequence[Run]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over the tokens that every run has seen, at those where the first was measured."""
    arrays = [np.array(run, dtype=float).T for run in runs]
    last = min(float(tokens[-1]) for tokens, _ in arrays)
    tokens = arrays[0][0][arrays[0][0] <= last]
    if not len(tokens):
        tokens = np.array([last])
    return tokens, np.mean([np.interp(tokens, own, losses) for own, losses in arrays], axis=0)


def _smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean over a tenth of the curve, over what there is of it at the ends."""
    half = max(1, len(losses) // 20)
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    index = np.arange(len(losses))
    start, end = np.maximum(index - half, 0), np.minimum(index + half + 1, len(losses))
    return np.asarray((sums[end] - sums[start]) / (end - start))
