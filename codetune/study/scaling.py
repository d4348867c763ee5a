"""How the rows of a study scale with the size of the data and of the model, as series for figures, with their fitted laws."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from codetune.score.power_law import NoLaw, PowerLaw, fit_power_law
from codetune.study.cells import Cell
from codetune.study.plots_scaling import Scaling, SizePoint
from codetune.study.summary import Block, Row

SizeOf = Callable[[Block], float | None]


@dataclass(frozen=True, slots=True)
class LossKind:
    """Which held-out loss a figure shows."""

    label: str
    comparable: bool  # between models whose tokenizers differ


BITS = LossKind("held-out loss, bits per byte", True)
NATS = LossKind("held-out loss, nats per token", False)


def data_size(block: Block) -> float | None:
    """How many training examples the block's data was cut to; None where it was not."""
    sizes = {cell.factors.get("data_size") for row in block.rows for cell in row.cells if cell.train is not None}
    size = sizes.pop() if len(sizes) == 1 else None
    return float(size) if isinstance(size, int | float) and size > 0 else None


def corpus_of(block: Block) -> str:
    """The name of the block's data without its size."""
    named = [str(cell.factors.get("corpus")) for row in block.rows for cell in row.cells if cell.factors.get("corpus")]
    return named[0] if named else block.data


def model_size(block: Block) -> float | None:
    """Parameters of the model itself: the fewest of its rows, since the others add an adapter."""
    totals = [cell.train.total_parameters for row in block.rows for cell in row.cells if cell.train and cell.train.total_parameters]
    return float(min(totals)) if totals else None


def largest_data(blocks: Iterable[Block]) -> list[Block]:
    """Of each model and corpus the block with the most data: where models are compared, all are at the end of their ladder."""
    found: dict[tuple[str, str], Block] = {}
    for block in blocks:
        key = block.model, corpus_of(block)
        if key not in found or (data_size(block) or 0.0) > (data_size(found[key]) or 0.0):
            found[key] = block
    return list(found.values())


def loss_kind(blocks: Sequence[Block]) -> LossKind:
    """Bits per byte where every trained cell has them: these can be compared between tokenizers."""
    trained = [cell for block in blocks for row in block.rows for cell in row.cells if cell.train]
    return BITS if trained and all(cell.measures.held_out_bits_per_byte for cell in trained) else NATS


def held_out_loss(cell: Cell, kind: LossKind) -> float | None:
    """Of the weights that were kept; the best validation loss of training where that was not measured apart."""
    if kind is BITS:
        return cell.measures.held_out_bits_per_byte
    return cell.measures.held_out_loss or (cell.train.best_val_loss if cell.train else None)


def quality_series(blocks: Sequence[Block], size_of: SizeOf, benchmark: str) -> list[Scaling]:
    """The score of each trained, valid row at each size; rows at one size alone are left out."""

    def point(block: Block, row: Row, size: float) -> SizePoint | None:
        score = block.score(row, benchmark)
        return SizePoint(size, score.mean, score.low, score.high) if score else None

    return _series(blocks, size_of, lambda block: block.valid_rows(benchmark) if benchmark in block.benchmarks else (), point)


def loss_series(blocks: Sequence[Block], size_of: SizeOf, kind: LossKind) -> list[Scaling]:
    """The held-out loss of every run of each valid row at each size, with the law of its runs, or why there is none."""

    def point(block: Block, row: Row, size: float) -> SizePoint | None:
        runs = tuple(loss for cell in row.cells if (loss := held_out_loss(cell, kind)) is not None)
        return SizePoint(size, statistics.fmean(runs), runs=runs) if runs else None

    lines = _series(blocks, size_of, lambda block: [row for row in block.rows if not row.invalid_cause], point)
    return [Scaling(line.row, line.points, _law(line.points)) for line in lines]


def cost_lines(blocks: Sequence[Block], cost: Callable[[Row], float | None]) -> dict[str, list[tuple[float, float]]]:
    """A cost of each trained row against its model's size; rows of one model alone are left out."""

    def point(block: Block, row: Row, size: float) -> SizePoint | None:
        paid = cost(row)
        return SizePoint(size, paid) if paid else None

    lines = _series(blocks, model_size, lambda block: [row for row in block.rows if not row.invalid_cause], point)
    return {line.row: [(one.size, one.value) for one in line.points] for line in lines}


def law_text(line: Scaling) -> str:
    """A law as a sentence has it: `lora: L = 12.3 N^-0.31 + 0.12, exponent 0.31 (95% interval 0.22 to 0.40)`."""
    law = line.law
    if isinstance(law, PowerLaw):
        constant = f" + {law.c:.3g}" if law.c is not None else ""
        sure = "no interval: as many points as parameters"
        if law.b_interval is not None:
            sure = f"95% interval {law.b_interval[0]:.2g} to {law.b_interval[1]:.2g}".replace("-", "−")
        return f"{line.row}: L = {law.a:.3g} N^−{law.b:.3g}{constant}, exponent {law.b:.3g} ({sure}; {law.runs} runs of {law.sizes} sizes)"
    return f"{line.row}: no law, {law.why}" if isinstance(law, NoLaw) else f"{line.row}: no law"


def _series(
    blocks: Sequence[Block],
    size_of: SizeOf,
    rows_of: Callable[[Block], Iterable[Row]],
    point: Callable[[Block, Row, float], SizePoint | None],
) -> list[Scaling]:
    found: dict[str, list[SizePoint]] = {}
    for block in blocks:
        size = size_of(block)
        for row in rows_of(block) if size is not None else ():
            if not row.is_base and size is not None and (made := point(block, row, size)) is not None:
                found.setdefault(row.label, []).append(made)
    order: Mapping[str, int] = {label: number for number, label in enumerate(dict.fromkeys(row.label for b in blocks for row in b.rows))}
    lines = [Scaling(row, tuple(sorted(points, key=lambda one: one.size))) for row, points in found.items()]
    several = [line for line in lines if len({one.size for one in line.points}) > 1]
    return sorted(several, key=lambda line: order[line.row])


def _law(points: Sequence[SizePoint]) -> PowerLaw | NoLaw:
    runs = [(one.size, run) for one in points for run in one.runs]
    return fit_power_law([size for size, _ in runs], [run for _, run in runs])
