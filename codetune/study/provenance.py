"""Everything that produced a report, gathered from its cells: what all cells share is said once, what differs per cell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from codetune.study.cells import Cell, Study
from codetune.study.tables import format_bytes, format_percent, format_seconds, format_small_percent

_HASHES = ("config_hash", "data_hash", "model_hash")


@dataclass(frozen=True, slots=True)
class FactCard:
    title: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CellText:
    """One cell's records as indented JSON."""

    key: str
    label: str
    text: str


def fact_cards(study: Study) -> list[FactCard]:
    """Cards of facts: study, decoding, scoring, versions, hardware, hashes, and how each row was trained."""
    provenance = [cell.provenance for cell in study.cells]
    cards = [
        FactCard("Study", tuple(_study_facts(study))),
        FactCard("Decoding and prompts", tuple(_decoding_facts(study.cells))),
        FactCard("Scores", tuple(_score_facts(study.cells))),
        FactCard("Versions", tuple(_merged(item.get("versions") for item in provenance))),
        FactCard("Hardware", tuple(_merged(item.get("hardware") for item in provenance))),
        FactCard("Hashes", tuple(_merged({name: item[name] for name in _HASHES[1:] if name in item} for item in provenance))),
    ]
    cards += [FactCard(f"Training data and the test: {data}", tuple(facts)) for data, facts in _overlap_facts(study.cells)]
    trained = {cell.row: cell for cell in reversed(study.cells) if cell.train}
    cards += [FactCard(f"Training: {row}", tuple(_training_facts(cell))) for row, cell in reversed(trained.items())]
    return [card for card in cards if card.pairs]


def cell_texts(study: Study) -> list[CellText]:
    """The resolved config and provenance of every cell."""
    return [
        CellText(
            cell.path.name,
            f"{cell.row}, {cell.model}, {cell.data}, seed {cell.seed}",
            json.dumps({"config": cell.config, "provenance": cell.provenance}, indent=2, ensure_ascii=False),
        )
        for cell in study.cells
    ]


def _study_facts(study: Study) -> Iterator[tuple[str, str]]:
    yield "models", _listed(cell.model for cell in study.cells)
    yield "training data", _listed(cell.data for cell in study.cells)
    yield "training seeds", _listed(cell.seed for cell in study.cells if cell.train) or "none"
    yield "cells", f"{len(study.cells)} finished, {len(study.unfinished)} not"


def _decoding_facts(cells: Iterable[Cell]) -> Iterator[tuple[str, str]]:
    generations = [(name, benchmark.generation) for cell in cells for name, benchmark in cell.benchmarks.items()]
    yield from _merged(generation.get("decoding") for _, generation in generations)
    for field in ("prompt_style", "batch_size"):
        if values := _listed(generation.get(field) for _, generation in generations):
            yield field, values


def _score_facts(cells: Iterable[Cell]) -> Iterator[tuple[str, str]]:
    summaries = [benchmark for cell in cells for benchmark in cell.benchmarks.values()]
    if tiers := _listed(summary.sandbox_tier for summary in summaries):
        yield "sandbox", tiers
    yield from _merged(summary.signatures for summary in summaries)


def _overlap_facts(cells: Iterable[Cell]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """For each data set how much of it overlaps which benchmark, with examples: of the rows that were trained, which have seen it all."""
    found = {cell.data: cell.overlap for cell in cells if cell.train and cell.overlap}
    for data, overlap in found.items():
        facts = []
        for name, part in overlap.get("benchmarks", {}).items():
            fate = ("left out" if overlap.get("left_out") else "trained on all the same") if part["documents"] else "nothing to leave out"
            examples = [
                f"{e['document']} has {e['task_id']} ({e['rule']}, {format_percent(e['share'], 0)})" for e in part.get("examples", ())
            ]
            counts = f"{part['documents']:,} of {overlap['documents']:,} documents overlap {part['problems']:,} problems, {fate}"
            facts.append((name, "; ".join([counts, *examples])))
        yield data, facts


def _training_facts(cell: Cell) -> Iterator[tuple[str, str]]:
    train = cell.train
    assert train is not None  # only trained cells are asked
    facts = {
        "learning rate": train.learning_rate,
        "steps": train.steps,
        "text tokens seen": train.tokens,
        "supervised tokens": train.supervised_tokens,
        "trained parameters": train.trainable_parameters,
        "best validation loss": train.best_val_loss,
    }
    for label, value in facts.items():
        if value is not None:
            yield label, f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    yield "share trained", format_small_percent(train.trainable_share)
    yield "time", format_seconds(train.seconds)
    yield "adapter", format_bytes(train.adapter_bytes)
    yield "packing, precision", f"{train.packing or '–'}, {train.precision or '–'}"


def _merged(parts: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Key by key, every value that some cell has."""
    values: dict[str, list[Any]] = {}
    for part in parts:
        if isinstance(part, dict):
            for key, value in part.items():
                values.setdefault(str(key), []).append(value)
    for key, found in values.items():
        yield key, _listed(found)


def _listed(values: Iterable[Any]) -> str:
    """Distinct values in order of appearance; JSON for what is not plain, nothing for what was not recorded."""
    texts = (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values if value not in (None, ""))
    return ", ".join(dict.fromkeys(texts))
