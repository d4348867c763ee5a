"""Published figures beside ours, as the report shows them: each with its source, and why there is no difference where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codetune.study.published import Compared, beside, published
from codetune.study.summary import Block
from codetune.study.tables import MISSING, format_bytes, format_points, format_score, format_small_percent
from codetune.study.words import metric_name


@dataclass(frozen=True, slots=True)
class PublishedLine:
    """`source` is the number of the source in the view's list; `note` says what must be known of the printed number."""

    model: str
    row: str
    metric: str
    printed: str
    ours: str
    difference: str
    why: str
    source: int
    note: str


@dataclass(frozen=True, slots=True)
class PublishedView:
    title: str
    conditions: str
    not_known: tuple[str, ...]
    lines: tuple[PublishedLine, ...]
    sources: tuple[str, ...]


def published_view(name: str, blocks: Sequence[Block]) -> PublishedView | None:
    """All printed figures of the study that a recipe names; None where it names none. Raises UserError for an unknown name."""
    if not name:
        return None
    study = published(name)
    compared = [(block, one) for block in blocks for one in beside(study, block)]
    sources = list(dict.fromkeys(one.figure.source for _, one in compared))
    several = len({(block.model, block.data) for block in blocks}) > len({block.model for block in blocks})
    lines = tuple(
        _line(f"{block.model} on {block.data}" if several else block.model, one, sources.index(one.figure.source) + 1)
        for block, one in compared
    )
    return PublishedView(study.title, study.conditions, study.not_known, lines, tuple(sources))


def _line(model: str, one: Compared, source: int) -> PublishedLine:
    figure = one.figure
    benchmark, _, metric = figure.metric.rpartition(":")
    names = {"trainable_share": "share trained", "peak_memory_bytes": "memory at its peak"}
    shown = f"{metric_name(metric)} on {benchmark}" if benchmark else names.get(metric, metric)
    writers = {"trainable_share": format_small_percent, "peak_memory_bytes": format_bytes}
    ours = writers.get(metric, format_score)(one.ours)
    difference = MISSING
    if one.difference is not None and metric == "peak_memory_bytes":
        difference = f"{'−' if one.difference < 0 else '+'}{format_bytes(abs(one.difference))}"
    elif one.difference is not None:
        difference = f"{format_points(one.difference, 2 if metric == 'trainable_share' else 1)} points"
    row = one.row if figure.row else f"{one.row}?"
    return PublishedLine(model, row, shown, figure.printed, ours, difference, one.why, source, figure.note)
