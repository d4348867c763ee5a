"""Which figures a block of the report has, from its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from matplotlib.figure import Figure

from codetune.records import Json
from codetune.study.cells import Cell, read_curve
from codetune.study.plots import (
    Bar,
    Curve,
    Point,
    RowStyle,
    bleu_by_verdict,
    grouped_bars,
    inline_svg,
    loss_curves,
    quality_against_cost,
    write_figure,
)
from codetune.study.summary import PASS, Block
from codetune.study.words import metric_name


@dataclass(frozen=True, slots=True)
class BlockFigure:
    """A figure on disk (`path` without ending) and as SVG for the page."""

    path: Path
    title: str
    caption: str
    svg: str

    @property
    def stem(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class _Drawn:
    stem: str
    title: str
    caption: str
    figure: Figure


def write_block_figures(block: Block, folder: Path, prefix: str, styles: Mapping[str, RowStyle]) -> list[BlockFigure]:
    """Draws what the records permit, writes it as PNG and SVG, and gives it back for the page."""
    shown = []
    for drawn in (_quality(block, styles), _cost(block, styles), _loss(block, styles), _bleu_and_verdict(block)):
        if drawn is not None:
            path = folder / f"{prefix}{drawn.stem}"
            write_figure(drawn.figure, path)
            shown.append(BlockFigure(path, drawn.title, drawn.caption, inline_svg(path, styles, drawn.title)))
    return shown


def _quality(block: Block, styles: Mapping[str, RowStyle]) -> _Drawn | None:
    if not block.benchmarks:
        return None
    first = block.benchmarks[0]
    keys = {f"{name}:{PASS}": f"pass@1\n{name}" for name in block.benchmarks if block.executes(name)}
    keys |= {f"{first}:{metric}": f"{metric_name(metric)}\n{first}" for metric in ("bleu", "rouge_l")}
    bars = [
        Bar(row.label, label, measure.mean, measure.low, measure.high)
        for key, label in keys.items()
        for row in block.valid_rows(key.rpartition(":")[0])
        if (measure := row.measures.get(key))
    ]
    caption = "Tests passed and likeness to the reference, per row; lines are 95% intervals. Invalid rows are left out, here and below."
    return _Drawn("quality", "Quality by method", caption, grouped_bars(bars, styles)) if bars else None


def _cost(block: Block, styles: Mapping[str, RowStyle]) -> _Drawn | None:
    if not block.benchmarks:
        return None
    first = block.benchmarks[0]
    points = [
        Point(
            row.label,
            score.mean,
            score.low,
            score.high,
            row.train_seconds,
            None if row.is_base else row.trainable_share,
            row.peak_memory_bytes,
        )
        for row in block.valid_rows(first)
        if (score := block.score(row, first))
    ]
    if not any(point.share is not None for point in points):
        return None
    name = f"{metric_name(block.score_name(first))} on {first}"
    unit = ", %" if block.executes(first) else ""
    caption = f"{name} against what training cost. Dotted levels are the rows that train nothing; up and to the left is better."
    return _Drawn("cost", "Quality against cost", caption, quality_against_cost(points, styles, name + unit))


def _loss(block: Block, styles: Mapping[str, RowStyle]) -> _Drawn | None:
    curves = [curve for row in block.rows for cell in row.cells if (curve := _curve(row.label, cell)).training]
    caption = "Mean loss per supervised token against text tokens seen, one line per run; pale lines are steps, strong ones their mean."
    return _Drawn("loss", "Loss", caption, loss_curves(curves, styles)) if curves else None


def _curve(row: str, cell: Cell) -> Curve:
    steps = [step for step in read_curve(cell) if "tokens" in step]
    training, validation = (_series(steps, key) for key in ("loss", "val_loss"))
    return Curve(row, training, validation)


def _series(steps: Sequence[Json], key: str) -> list[tuple[float, float]]:
    return [(float(step["tokens"]), value) for step in steps if _finite(value := step.get(key))]


def _finite(value: object) -> TypeGuard[float]:
    """A loss that was NaN is said by a gate; a line cannot be drawn through it."""
    return isinstance(value, int | float) and math.isfinite(value)


def _bleu_and_verdict(block: Block) -> _Drawn | None:
    executed = [name for name in block.benchmarks if block.executes(name)]
    if not executed:
        return None
    scores = {}
    for row in block.valid_rows(executed[0]):
        by_seed = block.outcomes.get((row.label, executed[0]), {})
        # One seed: three would draw every problem three times.
        outcomes = by_seed[min(by_seed)] if by_seed else ()
        scored = [(bleu, o.verdict) for o in outcomes if o.verdict and (bleu := o.sentence_bleu) is not None]
        passed, failed = ([bleu for bleu, verdict in scored if (verdict == "passed") is wanted] for wanted in (True, False))
        if scored:
            scores[row.label] = (passed, failed)
    caption = (
        f"Every completion of {executed[0]}: its BLEU against the reference, and whether it passed its tests. "
        "Where the two clouds overlap, BLEU does not say which program works; the upright line is the median."
    )
    return _Drawn("bleu-and-tests", "BLEU against execution", caption, bleu_by_verdict(scores)) if scores else None
