"""One thing on disk, described: its settings, how it went, what came of it and what produced it; as sections of (name, value)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codetune.config import TrainRecipe, validate
from codetune.data.prepared.read import MANIFEST
from codetune.errors import UserError
from codetune.models.stages import read
from codetune.records import Json
from codetune.runs import read_rows
from codetune.shelf.find import Found, find, planned_cells, things_below
from codetune.shelf.kinds import CELL, CELLS, METRICS, RECIPE, RESULT, STUDY, TRAINED
from codetune.shelf.stands import stands_on

Section = dict[str, Any]
CURVE_POINTS = 8  # of a curve, evenly spaced in its steps
_RESULTS = (
    "best_val_loss", "first_loss", "last_loss", "steps", "tokens", "seconds", "tokens_per_s", "peak_memory_bytes", "trainable_parameters",
    "trainable_share", "adapter_bytes", "precision", "packing", "stopped",
)  # fmt: skip
_PRODUCED = ("model_hash", "data_hash", "config_hash", "benchmark_hashes", "versions", "hardware", "seed")


def describe(found: Found, shelves: Sequence[Path] = ()) -> dict[str, Section]:
    """Sections by name, empty ones left out: settings, curve, result, scores, produced by, cells, stands on it."""
    folder = found.path
    sections: dict[str, Section] = {}
    match found.kind:
        case "study":
            stated = flat(_without(read(folder / STUDY), "cells"))
            settings = {key: value for key, value in stated.items() if value not in (None, "", [], {})}
            sections = {"settings": settings, "cells": _cells(folder)}
        case "data":
            manifest = read(folder / MANIFEST)
            splits = {name: f"{split['documents']:,} documents" for name, split in (manifest.get("splits") or {}).items()}
            produced = {key: manifest.get(key) for key in ("version", "key", "versions") if manifest.get(key)}
            sections = {"settings": flat(manifest.get("recipe") or {}), "result": splits, "produced by": flat(produced)}
        case "scores":
            result = read(folder / RESULT)
            sections = {"settings": flat(_without(result, "benchmarks")), "scores": scores_of(folder)}
        case _:
            sections = _run(folder)
    more = [path for path in things_below(folder) if found.kind != "study"]
    sections["in it"] = {str(path.relative_to(folder)): "" for path in more}
    things = [each.path for each in find([*shelves, folder.parent], parts=True)]
    sections["stand on it"] = {str(stand.who): stand.how for stand in stands_on(folder, found.kind, things)}
    return {name: section for name, section in sections.items() if section}


def settings_of(folder: Path) -> Section:
    """What determined a run, a cell, or an evaluation, flat; a run's own name and folder are not among it."""
    recipe = read(folder / RECIPE) or (read(folder / CELL).get("train") or {})
    cell = read(folder / CELL)
    settings = flat(_without(recipe, "name", "out", "trackers", "stages"))
    if cell:
        wanted = {key: cell[key] for key in ("model", "row", "seed", "few_shot", "decoding", "max_problems", "benchmarks") if key in cell}
        settings = flat(wanted) | settings | (flat({"data": cell["data"]}) if cell.get("data") else {})
    if not settings:
        settings = flat(_without(read(folder / RESULT), "benchmarks"))
    return settings


def results_of(folder: Path) -> Section:
    """What a training measured of itself, with the loss and speed names of `train.json`."""
    result = read(folder / RESULT)
    trained = read(folder / TRAINED) or result.get("train") or {}
    found = {key: trained[key] for key in _RESULTS if trained.get(key) not in (None, "")}
    if "peak_memory_bytes" not in found and result.get("peak_memory_bytes"):
        found["peak_memory_bytes"] = result["peak_memory_bytes"]
    return found


def scores_of(folder: Path) -> Section:
    """Every score of a cell or an evaluation, and of the evaluations in a run's folder: `basics-known pass@1` to its value in 0..1."""
    found: Section = {}
    for place in score_folders(folder):
        for name, summary in (read(place / RESULT).get("benchmarks") or {}).items():
            found |= {f"{name} pass@{k}": value for k, value in (summary.get("pass_at_k") or {}).items()}
            found |= {f"{name} {metric}": value for metric, value in (summary.get("metrics") or {}).items() if value is not None}
    return found


def score_folders(folder: Path) -> list[Path]:
    """Where the scores of a thing are: its own folder, and evaluations right in it."""
    inner = sorted(path.parent for path in folder.glob(f"*/{RESULT}") if path.parent.name not in (CELLS,))
    return [place for place in (folder, *inner) if "benchmarks" in read(place / RESULT)]


def curve_of(folder: Path) -> list[Json]:
    """The training curve at a few steps, first and last among them: step, loss, and the validation loss last measured by then."""
    steps = {int(row["step"]): row for row in read_rows(folder / METRICS) if "step" in row and "loss" in row}
    rows = [steps[step] for step in sorted(steps)]
    if not rows:
        return []
    count = min(CURVE_POINTS, len(rows))
    wanted = sorted({round(at * (len(rows) - 1) / max(1, count - 1)) for at in range(count)})
    seen: float | None = None
    points: list[Json] = []
    for at, row in enumerate(rows):
        seen = row.get("val_loss", seen)
        if at in wanted:
            points.append({"step": row["step"], "tokens": row.get("tokens"), "loss": row["loss"], "val_loss": seen})
    return points


def flat(tree: Any, prefix: str = "") -> Section:
    """Nested settings as `train.batch_tokens`: a list of plain values is one value, one of sections is numbered.

    >>> flat({"a": {"b": 1}, "c": [1, 2], "d": [{"e": 3}]})
    {'a.b': 1, 'c': [1, 2], 'd.0.e': 3}
    """
    if isinstance(tree, dict):
        return {key: value for name, part in tree.items() for key, value in flat(part, f"{prefix}.{name}" if prefix else str(name)).items()}
    if isinstance(tree, list) and any(isinstance(part, dict) for part in tree):
        return {key: value for at, part in enumerate(tree) for key, value in flat(part, f"{prefix}.{at}").items()}
    return {prefix: tree}


def _run(folder: Path) -> dict[str, Section]:
    trained, result = read(folder / TRAINED), read(folder / RESULT)
    produced = {key: value for key in _PRODUCED if (value := (result.get("provenance") or trained).get(key))}
    gates = {gate["name"]: gate.get("message") or gate["level"] for gate in result.get("gates") or () if gate.get("level") != "ok"}
    curve = {f"step {row['step']}": _point(row) for row in curve_of(folder)}
    return {
        "settings": chosen_settings(folder), "curve": curve, "result": results_of(folder), "scores": scores_of(folder), "gates": gates,
        "produced by": flat(produced),
    }  # fmt: skip


def chosen_settings(folder: Path) -> Section:
    """The settings that are not the defaults of their method, and what a run always states."""
    settings = settings_of(folder)
    method = settings.get("method.name")
    stated = {"name": "x", "model": "x", "data": {"source": "x"}, "method": {"name": method}}
    try:
        usual = flat(validate(stated, TrainRecipe, str(folder)).model_dump(mode="json")) if method else {}
    except UserError:  # of another version of codetune
        usual = {}
    always = ("model", "data.source", "method.name", "method.learning_rate", "train.train_tokens", "seed")
    return {key: value for key, value in settings.items() if key in always or (value is not None and usual.get(key, ...) != value)}


def _point(row: Json) -> str:
    validation = "" if row["val_loss"] is None else f", validation {row['val_loss']:.4f}"
    return f"loss {row['loss']:.4f}{validation}"


def _cells(study: Path) -> Section:
    """The cells of the present plan and how far each is; those of earlier plans are counted."""
    planned = planned_cells(study)
    cells = [each for each in find([study], parts=True) if each.kind == "cell"]
    shown = {each.name: _worth(each) for each in cells if planned is None or each.name in planned}
    missing = {name: "not begun" for name in planned or () if name not in shown}
    older = len(cells) - len(shown)
    return shown | missing | ({"of earlier plans": f"{older}, see `codetune runs rm --unplanned {study}`"} if older else {})


def _worth(cell: Found) -> str:
    return cell.state if cell.score is None else f"{cell.state}, {cell.score_of} {100 * cell.score:.1f}%"


def _without(tree: Json, *keys: str) -> Json:
    return {key: value for key, value in tree.items() if key not in keys}
