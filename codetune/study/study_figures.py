"""Which figures a study has beyond those of its blocks: all models at once, and how they scale."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from codetune.study.cells import Study
from codetune.study.figures import BlockFigure, Drawn, cost_figures, left_out, score_axis, systems_figure, written
from codetune.study.plots import RowStyle
from codetune.study.plots_cost import against_model_size
from codetune.study.plots_scaling import Scaling, SizeAxis, loss_by_size, quality_by_size
from codetune.study.scaling import (
    LossKind,
    corpus_of,
    cost_lines,
    data_size,
    largest_data,
    law_text,
    loss_kind,
    loss_series,
    model_size,
    quality_series,
)
from codetune.study.study_diagrams import diagrams
from codetune.study.summary import Block, Row

RULE_OF_LAWS = (
    "Laws are L = a N^−b + c on logarithms: with c from four sizes, without from three, none where the means of the sizes are off the "
    "curve by more than their runs differ. They say nothing beyond the sizes that were measured."
)


def write_study_figures(study: Study, blocks: Sequence[Block], folder: Path, styles: Mapping[str, RowStyle]) -> list[BlockFigure]:
    """Diagrams, all models against cost, and scaling in data and model size, as far as the records permit; `study-` begins their names."""
    ends = largest_data(blocks)
    drawn: list[Drawn | None] = [*diagrams(study, ends, styles)]
    corpora = list(dict.fromkeys(corpus_of(block) for block in ends))
    for corpus in corpora:
        together = [block for block in ends if corpus_of(block) == corpus]
        if len(together) > 1:
            drawn += _all_models(together, corpus if len(corpora) > 1 else "", styles)
    for model, corpus in dict.fromkeys((block.model, corpus_of(block)) for block in blocks):
        own = [block for block in blocks if (block.model, corpus_of(block)) == (model, corpus)]
        drawn += _data_scaling(own, f"{model}-{corpus}", f"{model} on {corpus}", styles)
    return written(drawn, folder, "study-", styles)


def _all_models(blocks: Sequence[Block], corpus: str, styles: Mapping[str, RowStyle]) -> list[Drawn]:
    """Figures that have every model of the study on one corpus, which is named where there are several."""
    suffix, where = (f"-{_slug(corpus)}", f", on {corpus}") if corpus else ("", "")
    data = f" Of each model the rows with the most data are shown ({', '.join(dict.fromkeys(block.data for block in blocks))})."
    found = cost_figures(blocks, styles)
    if (scatter := systems_figure(blocks, styles)) is not None:
        found.append(scatter)
    found = [Drawn(one.stem, f"{one.title}, all models", one.caption + data, one.figure) for one in found]
    found += _model_scaling(blocks, styles)
    return [Drawn(one.stem + suffix, one.title + where, one.caption, one.figure) for one in found]


def _model_scaling(blocks: Sequence[Block], styles: Mapping[str, RowStyle]) -> list[Drawn]:
    """Quality, held-out loss, speed and memory against the parameters of the model."""
    names = {size: block.model for block in blocks if (size := model_size(block)) is not None}
    if len(names) < 2:
        return []
    axis, found = SizeAxis("parameters of the model", names), []
    benchmark = next((name for block in blocks for name in block.benchmarks), "")
    if benchmark and (lines := quality_series(blocks, model_size, benchmark)):
        name = score_axis(blocks, benchmark)
        caption = f"{name}, of each row against the size of its model; lines are 95% intervals.{left_out(blocks, benchmark)}"
        found.append(Drawn("models-quality", "Quality by model size", caption, quality_by_size(lines, {}, axis, name, styles)))
    kind = loss_kind(blocks)
    if lines := loss_series(blocks, model_size, kind):
        drawn = loss_by_size(lines, axis, kind.label, styles)
        found.append(Drawn("models-loss", "Held-out loss by model size", _loss_caption(lines, kind), drawn))
    for stem, title, what, cost in (
        ("models-speed", "Training speed by model size", "tokens/s", _speed),
        ("models-memory", "Memory by model size", "peak memory of training", _memory),
    ):
        if rows := cost_lines(blocks, cost):
            caption = f"{what[0].upper()}{what[1:]} of each row against the size of its model, both on logarithmic axes."
            found.append(Drawn(stem, title, caption, against_model_size(rows, names, styles, what, stem == "models-memory")))
    return found


def _data_scaling(blocks: Sequence[Block], stem: str, where: str, styles: Mapping[str, RowStyle]) -> list[Drawn]:
    """Quality and held-out loss against the number of training examples; empty where the data has one size."""
    if len({size for block in blocks if (size := data_size(block)) is not None}) < 2:
        return []
    axis, found, slug = SizeAxis("training examples"), [], _slug(stem)
    benchmark = next((name for block in blocks for name in block.benchmarks), "")
    if benchmark and (lines := quality_series(blocks, data_size, benchmark)):
        base = [row for row in blocks[0].valid_rows(benchmark) if row.is_base]
        levels = {row.label: score.mean for row in base if (score := blocks[0].score(row, benchmark))}
        name = score_axis(blocks, benchmark)
        caption = (
            f"{name}, of {where}: each row against how many examples it was trained on; lines are 95% intervals, dotted levels train "
            f"nothing.{left_out(blocks, benchmark)}"
        )
        drawn = quality_by_size(lines, levels, axis, name, styles)
        found.append(Drawn(f"data-quality-{slug}", f"Quality by data size, {where}", caption, drawn))
    kind = loss_kind(blocks)
    if lines := loss_series(blocks, data_size, kind):
        caption = _loss_caption(lines, kind, within=True)
        drawn = loss_by_size(lines, axis, kind.label, styles)
        found.append(Drawn(f"data-loss-{slug}", f"Held-out loss by data size, {where}", caption, drawn))
    return found


def _loss_caption(lines: Sequence[Scaling], kind: LossKind, within: bool = False) -> str:
    tokenizers = "" if within or kind.comparable else " Losses per token can be compared only where models share a tokenizer."
    return f"Small dots are runs, large ones their means.{tokenizers} {'; '.join(map(law_text, lines))}. {RULE_OF_LAWS}"


def _speed(row: Row) -> float | None:
    return row.tokens_per_s


def _memory(row: Row) -> float | None:
    return row.peak_memory_bytes


def _slug(text: str) -> str:
    """A name as a file can have it."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"
