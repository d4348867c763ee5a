"""Two diagrams, drawn from a study's own words: the way from problem to comparison, and where each method puts what it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from codetune.study.plot_labels import SIZE
from codetune.study.plots import INK, MUTED, PANEL_WIDTH, RowStyle, in_house_style

STAGES = (
    ("Problem", "what is asked, a reference, tests"),
    ("Text", "a template, the same for training and prompt"),
    ("Batches", "token ids; which of them count for the loss"),
    ("Training", "one loop; only the method differs"),
    ("Completion", "the tuned model goes on from the prompt"),
    ("Program", "the code in the completion"),
    ("Verdict", "its tests, run in a sandbox"),
    ("Comparison", "paired by problem, over seeds"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a method trains: `parts` of a block that it changes or adds, what it does there, and the rows that are it."""

    method: str
    title: str
    says: str
    parts: frozenset[str]
    linears: bool = False  # a pair of small matrices beside the part, which itself stays frozen


_LINEARS = frozenset({"q", "k", "v", "o", "up", "down"})
PLACES = (
    Place("full", "Full fine-tuning", "every weight", _LINEARS | {"embed", "norm1", "norm2", "head"}),
    Place("lora", "LoRA", "two thin matrices beside each linear layer", _LINEARS, linears=True),
    Place("ia3", "IA3", "factors on keys, values, MLP", frozenset({"k", "v", "act"})),
    Place("bottleneck", "Bottleneck adapters", "a narrow network after each part", frozenset({"after1", "after2"})),
    Place("prefix_tuning", "Prefix-tuning", "keys and values before the text", frozenset({"prefix"})),
    Place("prompt_tuning", "Prompt-tuning", "embeddings before the text", frozenset({"embed+"})),
    Place("bitfit", "BitFit", "the biases alone", _LINEARS | {"norm1", "norm2", "bias"}),
    Place("ln_tuning", "LN-tuning", "the norms alone", frozenset({"norm1", "norm2"})),
)
_LEVELS = (
    ("norm1",), ("q", "k", "v"), ("attend",), ("o",), ("after1",), ("norm2",), ("up",), ("act",), ("down",), ("after2",), ("head",),
)  # fmt: skip
_TEXTS = {"norm1": "norm", "norm2": "norm", "attend": "attention", "act": "activation"}
KIN = {
    "rslora": "lora", "dora": "lora", "pissa": "lora", "lora_plus": "lora", "qlora": "lora", "vera": "lora", "p_tuning": "prompt_tuning",
}  # fmt: skip


@in_house_style
def pipeline(said: Mapping[str, str]) -> Figure:
    """The stages from problem to comparison, one under another; `said` has what this study has at a stage."""
    step, height = 0.5, 0.36
    whole = step * len(STAGES) + 0.05
    figure, axes = _sheet(whole)
    for number, (stage, does) in enumerate(STAGES):
        y = whole - step * number - 0.08 - height
        _box(axes, 0.1, y, 1.15, height, INK if stage == "Training" else MUTED, width=1.8 if stage == "Training" else 1.0)
        axes.text(0.675, y + height / 2, stage, ha="center", va="center", fontsize=9, fontweight="bold")
        middle = y + height / 2
        axes.text(1.42, middle + (0.085 if stage in said else 0), does, va="center", fontsize=SIZE, color=INK)
        if stage in said:
            axes.text(1.42, middle - 0.085, _short(said[stage], 66), va="center", fontsize=SIZE - 0.5, color=MUTED)
        if number:
            ends = (0.675, y + step), (0.675, y + height)
            axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=7, color=MUTED, shrinkA=0, shrinkB=0))
    return figure


@in_house_style
def places(rows: Mapping[str, Sequence[tuple[str, str]]], styles: Mapping[str, RowStyle], linears: str) -> Figure:
    """One transformer block for each method, what it trains in colour.

    `rows` maps a method's name to the rows of the study that are it or of its kind, each with what is written beside it, as its share;
    `linears` says which layers LoRA is on.
    """
    columns, wide, high = 2, PANEL_WIDTH / 2, 1.84
    lines = -(-len(PLACES) // columns)
    figure, axes = _sheet(high * lines)
    for number, place in enumerate(PLACES):
        left, bottom = (number % columns) * wide, high * (lines - 1 - number // columns)
        own = rows.get(place.method, ())
        color = styles[own[0][0]].light if own else MUTED
        _block(axes, left + 0.1, bottom + 0.12, place, color)
        x, y = left + 1.02, bottom + high - 0.2
        axes.text(x, y, place.title, fontsize=9, fontweight="bold", va="center")
        says = place.says if place.method != "lora" or not linears else f"two thin matrices beside {linears}"
        missing = [] if own or not rows else [("not in this study", MUTED)]
        for text, tint in [(line, INK) for line in _wrapped(says, 25)] + [(line, color) for line in _written(own)] + missing:
            y -= 0.155
            axes.text(x, y, text, fontsize=SIZE - 0.5, va="center", color=tint)
    return figure


def _sheet(height: float) -> tuple[Figure, Axes]:
    """An empty sheet whose units are inches."""
    figure = Figure(figsize=(PANEL_WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, PANEL_WIDTH)
    axes.set_ylim(0, height)
    axes.set_axis_off()
    return figure, axes


def _box(axes: Axes, x: float, y: float, wide: float, high: float, edge: str, fill: str = "white", width: float = 1.0) -> None:
    style = f"round,pad=0,rounding_size={min(0.035, wide / 4, high / 4)}"
    axes.add_patch(FancyBboxPatch((x, y), wide, high, boxstyle=style, edgecolor=edge, facecolor=fill, linewidth=width))


def _block(axes: Axes, left: float, bottom: float, place: Place, color: str) -> None:
    """From the embeddings at the bottom to the head on top; what trains is filled, what a method adds stands beside the stream."""
    row, gap = 0.105, 0.05

    def part(name: str, text: str, x: float, y: float, wide: float) -> None:
        trained = name in place.parts and not place.linears and "bias" not in place.parts
        _box(axes, left + x, bottom + y, wide, row, color if trained else MUTED, color if trained else "white", width=0.8)
        if text:
            middle = left + x + wide / 2, bottom + y + row / 2
            axes.text(*middle, text, ha="center", va="center", fontsize=5.8, color="white" if trained else MUTED)
        if name in place.parts and place.linears:
            for beside in (0.0, 0.032):
                _box(axes, left + x + wide - 0.028 + beside, bottom + y + 0.012, 0.022, row - 0.024, color, color, width=0.3)
        if name in place.parts and "bias" in place.parts:
            axes.add_patch(Circle((left + x + wide, bottom + y + row / 2), 0.026, color=color, linewidth=0))

    axes.plot([left + 0.52] * 2, [bottom, bottom + 1.5], color=MUTED, linewidth=0.8, zorder=0)  # the stream
    y = 0.0
    part("embed", "embeddings", 0.24, y, 0.56)
    if "embed+" in place.parts:
        _added(axes, left, bottom + y, row, color)
    for level in _LEVELS:
        y += row + (gap if level[0] in ("norm1", "norm2", "head") else 0.02)
        if level[0] in ("after1", "after2"):
            if level[0] in place.parts:
                part(level[0], "narrow", 0.34, y, 0.36)
            continue
        wide = (0.56 - 0.02 * (len(level) - 1)) / len(level)
        for number, name in enumerate(level):
            part(name, _TEXTS.get(name, name), 0.24 + number * (wide + 0.02), y, wide)
        if level[0] == "q" and "prefix" in place.parts:
            _added(axes, left, bottom + y, row, color)


def _added(axes: Axes, left: float, y: float, row: float, color: str) -> None:
    """Trained vectors before those of the text."""
    for number in range(3):
        axes.add_patch(Circle((left + 0.045 + 0.068 * number, y + row / 2), 0.027, color=color, linewidth=0))


def _written(own: Sequence[tuple[str, str]]) -> list[str]:
    """The rows of a method with their shares, at most six lines of them."""
    lines = [_short(line, 27) for row, text in own for line in _wrapped(f"{row}: {text}" if text else row, 27)]
    return lines if len(lines) <= 6 else [*lines[:5], "…"]


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip(" ,") + "…"
