"""Text metrics against execution in one model x data: whether BLEU and the others say which program, and which row, passes its tests.

Only valid rows count. Per program a metric is the sample's own (`bleu` is then sentence BLEU); per row BLEU is the corpus's, as
reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codetune.score.agreement import (
    RESAMPLES,
    Correlation,
    Programs,
    WrongPreference,
    over_systems,
    point_biserial,
    spearman,
    systems,
    with_interval,
    within_problems,
    wrong_preference,
)
from codetune.score.bleu import CONALA
from codetune.score.statistics import Array, resampled_sums
from codetune.study.cells import Outcome
from codetune.study.summary import Block, Row

SENTENCE = "sentence_bleu"
NOT_TEXT = ("loads", "doctests")  # what execution itself says


@dataclass(frozen=True, slots=True)
class Point:
    """One row in the scatter of a metric and pass@1."""

    row: str
    metric: float
    passed: float


@dataclass(frozen=True, slots=True)
class TextAgreement:
    """One text metric against passing on one benchmark; None: the records do not permit it (nothing passes, too few rows)."""

    model: str
    data: str
    benchmark: str
    metric: str
    point_biserial: Correlation | None  # over programs
    spearman: Correlation | None  # over programs
    within_problems: Correlation | None  # of ranks, among the programs of one problem
    wrong_preference: WrongPreference | None
    rows_pearson: Correlation | None  # over rows
    rows_spearman: Correlation | None
    points: tuple[Point, ...]


def text_against_execution(block: Block, benchmark: str) -> list[TextAgreement]:
    """Of every text metric that all samples have; empty where no row is valid."""
    rows = [row for row in block.valid_rows(benchmark) if block.outcomes.get((row.label, benchmark))]
    samples = [sample for row in rows for found in block.outcomes[row.label, benchmark].values() for sample in found if sample.verdict]
    if not samples:
        return []
    shared = set.intersection(*(set(sample.metrics) for sample in samples)) - set(NOT_TEXT)
    names = sorted(shared - {"bleu"} if SENTENCE in shared else shared, key=lambda name: (name not in (SENTENCE, "bleu"), name))
    return [_agreement(block, benchmark, name, rows, samples) for name in names]


def _agreement(block: Block, benchmark: str, name: str, rows: Sequence[Row], samples: Sequence[Outcome]) -> TextAgreement:
    place = {task_id: number for number, task_id in enumerate(dict.fromkeys(sample.task_id for sample in samples))}
    programs = Programs(
        np.array([place[sample.task_id] for sample in samples]),
        np.array([sample.metrics[name] for sample in samples]),
        np.array([float(sample.verdict == "passed") for sample in samples]),
    )
    metric = "bleu" if name == SENTENCE else name
    points, pearson, ranks = _over_rows(rows, benchmark, metric)
    return TextAgreement(
        block.model, block.data, benchmark, metric, point_biserial(programs), spearman(programs), within_problems(programs),
        wrong_preference(programs), pearson, ranks, points,
    )  # fmt: skip


def _over_rows(rows: Sequence[Row], benchmark: str, metric: str) -> tuple[tuple[Point, ...], Correlation | None, Correlation | None]:
    scored = [row.scored[benchmark] for row in rows]
    common = [task_id for task_id in scored[0].task_ids if all(task_id in set(one.task_ids) for one in scored[1:])]
    counts = [one.bleu_counts for one in scored]
    corpus = metric == "bleu" and all(table is not None for table in counts)
    values = counts if corpus else [(one.metrics or {}).get(SENTENCE if metric == "bleu" else metric) for one in scored]
    if len(common) < 2 or any(table is None for table in values) or any(one.passed is None for one in scored):
        return (), None, None
    columns = [[one.task_ids.index(task_id) for task_id in common] for one in scored]
    passed = np.stack([one.passed[:, at].mean(axis=0) for one, at in zip(scored, columns, strict=True) if one.passed is not None])
    tables = [table[:, at] for table, at in zip(values, columns, strict=True) if table is not None]
    if corpus:
        means = np.array([CONALA.score(table.sum(axis=1)).mean() for table in tables])
        pearson, ranks = (_corpus_rows(tables, passed, means, by_rank) for by_rank in (False, True))
    else:
        flat = np.stack([table.mean(axis=0) for table in tables])
        means = flat.mean(axis=1)
        pearson, ranks = systems(flat, passed), systems(flat, passed, ranks=True)
    points = (Point(row.label, float(m), float(p)) for row, m, p in zip(rows, means, passed.mean(axis=1), strict=True))
    return tuple(points), pearson, ranks


def _corpus_rows(tables: Sequence[Array], passed: Array, means: Array, ranks: bool) -> Correlation | None:
    """Corpus BLEU of each row, averaged over its runs, against its pass rate; problems drawn anew for all rows together."""
    if len(tables) < 3:
        return None
    problems = passed.shape[1]
    weights = resampled_sums(problems, RESAMPLES, 0)
    resampled = np.stack([np.mean([CONALA.score(weights @ run) for run in table], axis=0) for table in tables], axis=1)
    value = over_systems(means[None], passed.mean(axis=1)[None], ranks)[0]
    return with_interval(value, over_systems(resampled, weights @ passed.T / problems, ranks), len(tables))
