"""Which figures a block of the report has, from its records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from matplotlib.figure import Figure

from codetune.records import Json
from codetune.score.agreement import Correlation
from codetune.study.agreements import TextAgreement
from codetune.study.cells import Cell, read_curve
from codetune.study.plots import TUNED, RowStyle, inline_svg, write_figure
from codetune.study.plots_cost import MEMORY, SHARE, TIME, Cost, Point, quality_against
from codetune.study.plots_scores import (
    Bar,
    Gap,
    Memory,
    System,
    bleu_by_verdict,
    forest,
    grouped_bars,
    memory_parts,
    text_against_execution,
)
from codetune.study.plots_training import Tried, ladders, loss_curves
from codetune.study.summary import PASS, TEXT_SCORE, Block, Row
from codetune.study.verdicts import verdicts_of
from codetune.study.words import metric_name

GENERATION = "generation"
INVALID_OUT = "Invalid rows are left out"


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
class Drawn:
    """A figure before it is written; `stem` is its file's name."""

    stem: str
    title: str
    caption: str
    figure: Figure


def write_block_figures(block: Block, folder: Path, prefix: str, styles: Mapping[str, RowStyle]) -> list[BlockFigure]:
    """Draws what the records permit, writes it as PNG and SVG, and gives it back for the page."""
    drawn = [
        _quality(block, styles), _differences(block, styles), *cost_figures([block], styles), *_losses(block, styles),
        _ladders(block, styles), _memory(block), systems_figure([block], styles), _bleu_and_verdict(block),
    ]  # fmt: skip
    return written(drawn, folder, prefix, styles)


def written(drawn: Iterable[Drawn | None], folder: Path, prefix: str, styles: Mapping[str, RowStyle]) -> list[BlockFigure]:
    """Those figures that there are, on disk and for the page."""
    shown: list[BlockFigure] = []
    for one in drawn:
        if one is not None:
            path = folder / f"{prefix}{one.stem}"
            while any(path == other.path for other in shown):  # two names that a file cannot tell apart
                path = path.with_name(path.name + "-more")
            write_figure(one.figure, path)
            shown.append(BlockFigure(path, one.title, one.caption, inline_svg(path, styles, one.title)))
    return shown


def cost_figures(blocks: Sequence[Block], styles: Mapping[str, RowStyle]) -> list[Drawn]:
    """Quality against memory, time and share trained, one figure each, of all the blocks; empty where nothing was trained."""
    benchmark = next((name for block in blocks for name in block.benchmarks), "")
    found = []
    for cost in (MEMORY, TIME, SHARE):
        points = [point for block in blocks for point in _points(block, benchmark, cost)]
        if not any(point.cost for point in points):
            continue
        name = score_axis(blocks, benchmark)
        caption = (
            f"{name}, against {cost.axis}; upright lines are 95% intervals. The grey steps join the rows that no other beats in both; "
            "whether two of them can be told apart is said by their difference, not by the steps. Dotted levels are the rows that train "
            f"nothing.{left_out(blocks, benchmark)}"
        )
        found.append(Drawn(f"cost-{cost.name}", cost.title, caption, quality_against(points, cost, styles, name)))
    return found


def systems_figure(blocks: Sequence[Block], styles: Mapping[str, RowStyle]) -> Drawn | None:
    """BLEU against pass@1 of all rows of the blocks; None under three rows, or where nothing is executed."""
    benchmark = next((name for block in blocks for name in block.benchmarks if block.executes(name)), "")
    systems = []
    for block in blocks:
        for row in block.valid_rows(benchmark) if benchmark in block.benchmarks else ():
            text, passed = (row.measures.get(f"{benchmark}:{name}") for name in (TEXT_SCORE, PASS))
            if text is not None and passed is not None:
                systems.append(System(row.label, block.model, (text.mean, text.low, text.high), (passed.mean, passed.low, passed.high)))
    if len(systems) < 3:
        return None
    caption = (
        f"Every row on {benchmark}: its BLEU across, its pass rate up, with the 95% intervals of both. Were BLEU a measure of working "
        f"programs, the points would rise along one line.{_rows_correlated(blocks, benchmark)}{left_out(blocks, benchmark)}"
    )
    drawn = text_against_execution(systems, styles, "corpus BLEU-4", f"pass@1 on {benchmark}, %")
    return Drawn("bleu-and-pass-rate", "BLEU against execution, by row", caption, drawn)


def _rows_correlated(blocks: Sequence[Block], benchmark: str) -> str:
    found = _agreement(blocks[0], benchmark) if len(blocks) == 1 else None
    return _correlated("Spearman's correlation of rows:", found.rows_spearman) if found else ""


def score_axis(blocks: Sequence[Block], benchmark: str) -> str:
    """What is compared on a benchmark, as an axis is labelled."""
    block = next(block for block in blocks if benchmark in block.benchmarks)
    return f"{metric_name(block.score_name(benchmark))} on {benchmark}" + (", %" if block.executes(benchmark) else "")


def left_out(blocks: Sequence[Block], benchmark: str) -> str:
    """A sentence that names the rows which a figure leaves out since they are invalid; empty where none is."""
    models = len({block.model for block in blocks})
    invalid = [(row.label, block) for block in blocks for row in block.rows if row.invalid_on(benchmark)]
    names = dict.fromkeys(label if models == 1 else f"{label} of {block.model}" for label, block in invalid)
    return f" Left out, as invalid: {', '.join(names)}." if names else ""


def _quality(block: Block, styles: Mapping[str, RowStyle]) -> Drawn | None:
    if not block.benchmarks:
        return None
    first = block.benchmarks[0]
    keys = {f"{name}:{PASS}": f"pass@1 on {name}" for name in block.benchmarks if block.executes(name)}
    keys |= {f"{first}:{metric}": f"{metric_name(metric)} on {first}" for metric in ("bleu", "rouge_l")}
    bars = [
        Bar(row.label, label, measure.mean, measure.low, measure.high)
        for key, label in keys.items()
        for row in block.valid_rows(key.rpartition(":")[0])
        if (measure := row.measures.get(key))
    ]
    caption = f"Tests passed and likeness to the reference, per row, 0 to 100; lines are 95% intervals. {INVALID_OUT}, here and below."
    return Drawn("quality", "Quality by method", caption, grouped_bars(bars, styles)) if bars else None


def _points(block: Block, benchmark: str, cost: Cost) -> list[Point]:
    found = []
    for row in block.valid_rows(benchmark) if benchmark in block.benchmarks else ():
        costs = {MEMORY: row.peak_memory_bytes, TIME: row.train_seconds, SHARE: row.trainable_share}
        score, paid = block.score(row, benchmark), None if row.is_base else costs[cost]
        if score is not None and (row.is_base or paid):
            found.append(Point(row.label, block.model, score.mean, score.low, score.high, paid))
    return found


def _differences(block: Block, styles: Mapping[str, RowStyle]) -> Drawn | None:
    """Every pair of valid rows, better minus worse, on the first benchmark."""
    if not block.benchmarks:
        return None
    benchmark = block.benchmarks[0]
    gaps = _gaps(block, benchmark)
    if not gaps:
        return None
    caption = (
        f"{score_axis([block], benchmark)}: every row minus every row below it, paired by problem, with the 95% interval of each pair by "
        "itself. A filled mark: told apart by the p-value that is corrected (Holm) for the number of pairs, which asks for more than an "
        f"interval without zero.{left_out([block], benchmark)}"
    )
    return Drawn("differences", "Every difference", caption, forest(gaps, styles, "points"))


def _gaps(block: Block, benchmark: str) -> list[Gap]:
    """Best minus worse, in the order of their means; told apart by the corrected p-value."""
    place = {row.label: number for number, row in enumerate(block.ranked(benchmark))}
    gaps = []
    for c in verdicts_of(block).comparisons:
        if c.benchmark == benchmark and c.row in place and c.other in place:
            low, high = (c.low, c.high) if c.low is not None and c.high is not None else (None, None)
            gap = Gap(c.row, c.other, c.difference, low, high, c.told_apart)
            turned = Gap(c.other, c.row, -c.difference, None if high is None else -high, None if low is None else -low, c.told_apart)
            gaps.append(gap if place[c.row] < place[c.other] else turned)
    return sorted(gaps, key=lambda gap: (place[gap.row], place[gap.other]))


def _agreement(block: Block, benchmark: str) -> TextAgreement | None:
    """What BLEU says of execution on a benchmark, where the records permit it."""
    found = verdicts_of(block).text_against_execution
    return next((one for one in found if (one.benchmark, one.metric) == (benchmark, TEXT_SCORE)), None)


def _correlated(name: str, found: Correlation | None) -> str:
    if found is None:
        return ""
    numbers = f"{found.value:.2f} (95% interval {found.low:.2f} to {found.high:.2f}, {found.count} of them)".replace("-", "−")
    return f" {name} {numbers}."


def _losses(block: Block, styles: Mapping[str, RowStyle]) -> list[Drawn]:
    """Loss in training, and on held-out text where that was measured."""
    seeds = max((len(row.seeds) for row in block.rows), default=0)
    found = []
    for key, title, kind in (("loss", "Training loss", "training"), ("val_loss", "Validation loss", "validation")):
        curves = {row.label: runs for row in block.rows if (runs := [run for cell in row.cells if (run := _run(cell, key))])}
        if curves:
            smooth = ", smoothed over a tenth of the steps" if key == "loss" else ""
            pale = f"pale lines are runs, one for each seed, strong ones their mean{smooth}" if seeds > 1 else f"one run a row{smooth}"
            caption = f"Mean {kind} loss per supervised token against the text tokens seen so far; {pale}."
            found.append(Drawn(f"loss-{kind}", title, caption, loss_curves(curves, styles, key == "val_loss")))
    return found


def _run(cell: Cell, key: str) -> list[tuple[float, float]]:
    return [(float(step["tokens"]), value) for step in read_curve(cell) if "tokens" in step and _finite(value := step.get(key))]


def _finite(value: object) -> TypeGuard[float]:
    """A loss that was NaN is said by a gate; a line cannot be drawn through it."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ladders(block: Block, styles: Mapping[str, RowStyle]) -> Drawn | None:
    """The trials of every row that was searched for, in the colour of its method."""
    tried = [trial for row in block.rows for trial in _trials(row)]
    if not tried:
        return None
    known = {row.label.removesuffix(TUNED): styles[row.label] for row in block.rows}
    caption = (
        "Each trial of the search: the loss on held-out text that it came to, at its learning rate; a line joins trials that differ in "
        "nothing else. A ring is the setting of the recipe, a star the best, which the row “… tuned” was trained with. What was cut short "
        "shows the best loss seen until then. A lead smaller than what another seed changes is no lead."
    )
    return Drawn("ladders", "Learning-rate ladders", caption, ladders(tried, known))


def _trials(row: Row) -> list[Tried]:
    search = next((cell.train.search for cell in row.cells if cell.train and cell.train.search), None)
    if not search:
        return []
    default, best = (dict(search.get(which) or {}) for which in ("default", "best"))
    usual: Json = default.get("settings") or {}
    found = []
    for trial in search.get("trials") or ():
        settings = trial.get("settings") or {}
        rate, loss = settings.get("learning_rate"), trial.get("val_loss")
        if not _finite(rate):
            continue
        way = ", ".join(_setting(key, value) for key, value in settings.items() if key != "learning_rate" and value != usual.get(key))
        number = trial.get("number")
        marks = number == default.get("number"), number == best.get("number")
        found.append(Tried(row.label.removesuffix(TUNED), way, rate, loss if _finite(loss) else None, str(trial.get("state")), *marks))
    return found


def _memory(block: Block) -> Drawn | None:
    """What each row's memory was for: a forecast in parts beside the peaks that were measured."""
    rows = {}
    for row in block.rows:
        measured = next((cell.measures for cell in row.cells if cell.train and cell.measures.memory_forecast_bytes), None)
        if measured is not None:
            parts = {name: count for name, count in measured.memory_forecast_bytes.items() if name != GENERATION and count}
            peaks = measured.memory_peak_bytes
            rows[row.label] = Memory(parts, peaks.get("training"), measured.memory_forecast_bytes.get(GENERATION), peaks.get(GENERATION))
    caption = (
        "The peak of training in the parts that the forecast has, which traces the same pass without data, and the peaks that were "
        "measured: the parts are no measurement. On a CPU the peak of generation has in it what the process kept from before."
    )
    return Drawn("memory", "What memory is for", caption, memory_parts(rows)) if rows else None


def _setting(key: str, value: object) -> str:
    """`rank 32`, `64 virtual tokens`, `pissa`."""
    names = {"lora_rank": "rank {}", "num_virtual_tokens": "{} tokens", "bottleneck_size": "width {}", "init": "{}"}
    return names.get(key, key.replace("_", " ") + " {}").format(value)


def _bleu_and_verdict(block: Block) -> Drawn | None:
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
        f"Every completion of {executed[0]}, of the first seed: its BLEU against the reference, and whether it passed its tests. "
        "Where the two clouds overlap, BLEU does not say which program works; the upright line is the median."
    )
    if (found := _agreement(block, executed[0])) is not None:
        caption += _correlated("Of all seeds, correlation of BLEU and passing over programs (point-biserial):", found.point_biserial)
        if (wrong := found.wrong_preference) is not None:
            caption += (
                f" Between a program that passes and one that fails on the same problem, BLEU prefers the one that fails in "
                f"{100 * wrong.share:.0f}% of pairs ({100 * wrong.low:.0f} to {100 * wrong.high:.0f}%)."
            )
    return Drawn("bleu-and-tests", "BLEU against execution, by problem", caption, bleu_by_verdict(scores)) if scores else None
