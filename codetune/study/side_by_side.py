"""Two studies side by side: what both have, paired where the problems are the same; what differs in their settings; what one has alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.records import Json
from codetune.study.cells import Study
from codetune.study.intervals import Kind, PairedGap, paired_gap
from codetune.study.reading import read_blocks
from codetune.study.rendering import render, write_page
from codetune.study.summary import PASS, TEXT_SCORE, Block, Measure, Row
from codetune.study.tables import MISSING, format_bytes, format_points, format_rate, format_score, format_seconds, format_small_percent
from codetune.study.words import interval_text, metric_name

_Key = tuple[str, str, str]  # model, data, row


@dataclass(frozen=True, slots=True)
class Value:
    """One study's number with its interval; not `valid`: struck out, for the cause given."""

    text: str
    interval: str = ""
    valid: bool = True
    cause: str = ""


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """One metric of one row in both studies, second minus first in points; `words` says how sure, or why nothing is said."""

    row: str
    benchmark: str
    metric: str
    first: Value
    second: Value
    difference: str
    interval: str
    words: str
    distinct: bool


@dataclass(frozen=True, slots=True)
class CostLine:
    row: str
    what: str
    first: str
    second: str
    ratio: str


@dataclass(frozen=True, slots=True)
class Part:
    """What both studies have of one model x data."""

    title: str
    scores: tuple[ScoreLine, ...]
    costs: tuple[CostLine, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class SideBySide:
    """All that `compare.html` shows."""

    names: tuple[str, str]
    folders: tuple[str, str]
    parts: tuple[Part, ...]
    settings: tuple[Setting, ...]
    surroundings: tuple[Setting, ...]  # versions, hardware, hashes
    alone: tuple[tuple[str, ...], tuple[str, ...]]
    summary: str


def write_comparison(first_dir: Path, second_dir: Path) -> tuple[Path, str]:
    """`compare.html` in the first study's folder, and what it says in a sentence. Raises UserError where either is no study."""
    shown = compare_studies(first_dir, second_dir)
    path = first_dir / "compare.html"
    write_page(path, render("compare.html.jinja", page=shown, colors={}))
    return path, shown.summary


def compare_studies(first_dir: Path, second_dir: Path) -> SideBySide:
    """Cells are the same where model, data and row are called the same; scores also need the benchmark. Raises UserError as above."""
    (first, ours), (second, theirs) = read_blocks(first_dir), read_blocks(second_dir)
    rows = _rows(ours), _rows(theirs)
    titles: dict[tuple[str, str], list[_Key]] = {}
    for key in (key for key in rows[0] if key in rows[1]):
        titles.setdefault(key[:2], []).append(key)
    parts = tuple(_part(model, data, [(rows[0][key], rows[1][key]) for key in keys]) for (model, data), keys in titles.items())
    alone = (tuple(_alone(rows[0], rows[1])), tuple(_alone(rows[1], rows[0])))
    recipes = [_flat({name: part for name, part in study.recipe.items() if name != "cells"}) for study in (first, second)]
    return SideBySide(
        names=(first.name, second.name),
        folders=(str(first_dir), str(second_dir)),
        parts=parts,
        settings=tuple(_differing(*recipes)),
        surroundings=tuple(_differing(_surroundings(first), _surroundings(second))),
        alone=alone,
        summary=_summary(parts, alone),
    )


def _rows(blocks: list[Block]) -> dict[_Key, tuple[Block, Row]]:
    return {(block.model, block.data, row.label): (block, row) for block in blocks for row in block.rows}


_Both = tuple[tuple[Block, Row], tuple[Block, Row]]


def _part(model: str, data: str, pairs: list[_Both]) -> Part:
    scores = [line for both in pairs for line in _scores(both)]
    costs = [line for both in pairs for line in _costs(both)]
    return Part(f"{model} on {data}", tuple(scores), tuple(costs))


def _scores(both: _Both) -> Iterator[ScoreLine]:
    (block, row), (other_block, other) = both
    for benchmark in (name for name in block.benchmarks if name in other_block.benchmarks):
        for key in (key for key in row.measures if key.startswith(f"{benchmark}:") and key in other.measures):
            yield _score(both, benchmark, key.removeprefix(f"{benchmark}:"), row.measures[key], other.measures[key])


def _score(both: _Both, benchmark: str, metric: str, ours: Measure, theirs: Measure) -> ScoreLine:
    (_, row), (_, other) = both
    values = [
        Value(format_score(m.mean), interval_text(m.low, m.high), not one.struck_on(benchmark, metric), one.struck_on(benchmark, metric))
        for m, one in ((ours, row), (theirs, other))
    ]
    gap, words = None, "no interval"
    if not all(value.valid for value in values):
        words = "not compared: invalid"
    elif different := _other_problems(both, benchmark):
        words = different
    elif metric in (PASS, TEXT_SCORE):
        gap = _gap(both, benchmark, metric)
        words = "no interval" if gap is None else "told apart" if gap.low > 0 or gap.high < 0 else "not told apart"
    difference = format_points(gap.value if gap else theirs.mean - ours.mean) if all(value.valid for value in values) else MISSING
    interval = interval_text(gap.low, gap.high) if gap else ""
    return ScoreLine(row.label, benchmark, metric_name(metric), values[0], values[1], difference, interval, words, words == "told apart")


def _gap(both: _Both, benchmark: str, metric: str) -> PairedGap | None:
    (_, row), (_, other) = both
    kind: Kind = "pass@1" if metric == PASS else "bleu"
    return paired_gap(other.scored[benchmark], row.scored[benchmark], kind)


def _other_problems(both: _Both, benchmark: str) -> str:
    """Why two scores are not of the same problems; "" where they are."""
    asked = []
    for block, row in both:
        known = {p.task_id: (p.instruction, p.reference) for p in block.problems.get(benchmark, ())}
        asked.append({task_id: known.get(task_id) for task_id in row.scored[benchmark].task_ids})
    first, second = asked
    if not first or not second:
        return "not paired: no samples kept"
    same = sum(task_id in second and second[task_id] == text for task_id, text in first.items())
    total = len(first.keys() | second.keys())
    return "" if same == total else f"not paired: {same} of {total} problems are the same"


_COSTS: tuple[tuple[str, Callable[[Row], float | None], Callable[[float | None], str]], ...] = (
    ("memory at its peak", lambda row: row.peak_memory_bytes, format_bytes),
    ("time of training", lambda row: row.train_seconds, format_seconds),
    ("tokens/s of training", lambda row: row.tokens_per_s, format_rate),
    ("share trained", lambda row: row.trainable_share, format_small_percent),
    ("adapter", lambda row: row.adapter_bytes, format_bytes),
)


def _costs(both: _Both) -> Iterator[CostLine]:
    (_, row), (_, other) = both
    for what, value, write in _COSTS:
        ours, theirs = value(row), value(other)
        if ours is not None or theirs is not None:
            ratio = f"× {theirs / ours:.2f}" if ours and theirs is not None else MISSING
            yield CostLine(row.label, what, write(ours), write(theirs), ratio)


def _alone(ours: Mapping[_Key, tuple[Block, Row]], theirs: Mapping[_Key, tuple[Block, Row]]) -> Iterator[str]:
    for key, (block, row) in ours.items():
        if key not in theirs:
            yield f"{row.label} of {block.model} on {block.data}"
            continue
        here, there = ({name for cell in one.cells for name in cell.benchmarks} for one in (row, theirs[key][1]))
        if missing := sorted(here - there):
            yield f"{row.label} of {block.model} on {block.data}: {', '.join(missing)}"


def _surroundings(study: Study) -> dict[str, str]:
    """What surrounded the cells and is in no recipe, each value once."""
    found: dict[str, dict[str, None]] = {}
    for cell in study.cells:
        parts: Json = {"versions": cell.provenance.get("versions"), "hardware": cell.provenance.get("hardware")}
        parts |= {name: cell.provenance[name] for name in ("data_hash", "model_hash") if name in cell.provenance}
        parts["benchmarks"] = cell.provenance.get("benchmark_hashes")
        for name, text in _flat(parts).items():
            found.setdefault(name, {})[text] = None
    return {name: ", ".join(texts) for name, texts in found.items()}


def _flat(tree: Any, before: str = "") -> dict[str, str]:
    """Settings by their way, as text; a list of settings with names goes by these, so that an added one is one line."""
    if isinstance(tree, Mapping) and tree:
        return {name: text for key, value in tree.items() for name, text in _flat(value, f"{before}.{key}" if before else str(key)).items()}
    if isinstance(tree, list) and tree and all(isinstance(one, Mapping) for one in tree):
        called = [str(one.get("label") or one.get("name") or one.get("source") or number) for number, one in enumerate(tree)]
        if len(set(called)) == len(called):
            return {k: text for name, one in zip(called, tree, strict=True) for k, text in _flat(one, f"{before}[{name}]").items()}
    return {} if tree is None else {before: tree if isinstance(tree, str) else json.dumps(tree, ensure_ascii=False, default=str)}


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[Setting]:
    for name in dict.fromkeys((*first, *second)):
        if first.get(name) != second.get(name):
            yield Setting(name, first.get(name, MISSING), second.get(name, MISSING))


def _summary(parts: tuple[Part, ...], alone: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    lines = [line for part in parts for line in part.scores]
    if not lines:
        return "The studies have no score in common."
    paired = [line for line in lines if line.interval]
    apart = sum(line.distinct for line in paired)
    only = f"; {len(alone[0])} rows only in the first, {len(alone[1])} only in the second" if any(alone) else ""
    return f"{len(lines)} scores in common, {len(paired)} of them paired by problem, {apart} of these told apart{only}."
