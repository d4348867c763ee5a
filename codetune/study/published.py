"""Figures that published studies print, and how ours stand beside them: `beside(published("conala"), block)`.

They are in `assets/published.json`, each with where it is from and what must be said of it. Only what is known is there: a figure that is
not was not at hand, and `not_known` says what that is. Values are fractions and bytes as in our own tables; `printed` is what print has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from codetune.errors import UserError, nearest
from codetune.study.stand_ins import is_stand_in, stands_for
from codetune.study.summary import Block, Row

FILE = Path(__file__).parent.parent / "assets" / "published.json"
_OF_TRAINING = ("trainable_share", "peak_memory_bytes")  # the metrics that are properties of a row; others are measures on a benchmark


@dataclass(frozen=True, slots=True)
class Figure:
    """One printed number. `row` is "" where it is not known which row it is of. Of a range `value` is the lower end, `high` the upper."""

    model: str
    row: str
    metric: str  # as our tables call it: "conala:bleu", "trainable_share", "peak_memory_bytes"
    value: float
    printed: str
    source: str
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """What one study printed, as far as it is known here."""

    name: str
    title: str
    conditions: str
    not_known: tuple[str, ...]
    figures: tuple[Figure, ...]

    def of(self, model: str) -> tuple[Figure, ...]:
        """The figures of a model by the name that reports call it, or of the model that a stand-in takes the place of."""
        return tuple(figure for figure in self.figures if figure.model == stands_for(model))


@dataclass(frozen=True, slots=True)
class Compared:
    """A printed figure and ours. `ours` is None where our row has no such number or its numbers do not stand.

    `difference` is ours less theirs, None where there is no ours, where theirs is a range or of an unknown row, and for scores of a
    stand-in: those say nothing. Shares and memory of a stand-in are another model's, too.
    """

    row: str
    figure: Figure
    ours: float | None
    difference: float | None
    why: str = ""  # there is no difference


def published(name: str) -> Published:
    """The figures of a study by its name in a recipe (`published: conala`). Raises UserError for a name that is not there."""
    studies = _read()
    if name not in studies:
        raise UserError(f"published: no study {name!r}; {nearest(name, studies)}")
    found = dict(studies[name])
    figures = tuple(Figure(**figure) for figure in found.pop("figures"))
    return Published(name, figures=figures, not_known=tuple(found.pop("not_known")), **found)


def beside(study: Published, block: Block) -> tuple[Compared, ...]:
    """Every printed figure of the block's model with ours. One of an unknown row stands beside each trained row.

    Rows are found by their label: `lora tuned` has none beside it, as its settings are not the study's.
    """
    found = []
    for figure in study.of(block.model):
        for row in block.rows:
            if row.label == figure.row or (not figure.row and not row.is_base):
                found.append(_compared(figure, row, is_stand_in(block.model)))
    return tuple(found)


def _compared(figure: Figure, row: Row, stand_in: bool) -> Compared:
    ours, why = _ours(figure.metric, row), ""
    if ours is None:
        why = row.invalid_cause or "not measured here"
    elif stand_in:
        why = "ours is of a tiny stand-in, which says nothing of the model"
    elif figure.high is not None:
        why = "a range is printed"
    elif not figure.row:
        why = "not known which row it is of"
    return Compared(row.label, figure, ours, None if why or ours is None else ours - figure.value, why)


def _ours(metric: str, row: Row) -> float | None:
    if metric in _OF_TRAINING:
        found: float | None = getattr(row, metric)
        return found
    benchmark = metric.partition(":")[0]
    measure = None if row.invalid_on(benchmark) else row.measures.get(metric)
    return None if measure is None else measure.mean


@cache
def _read() -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found
