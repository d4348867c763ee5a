"""Finds what codetune has written under folders, and says of each in a line what it is, how far it is and what it is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.data.prepared.read import MANIFEST
from codetune.models.stages import read
from codetune.records import Json
from codetune.runs import in_use, read_rows
from codetune.shelf.kinds import (
    CELL,
    CELLS,
    CHECKPOINT,
    HOLDERS,
    METRICS,
    RECIPE,
    RESULT,
    STUDY,
    TRAINED,
    WRITTEN,
    Kind,
    kind_of,
    size_of,
)

_DEPTH = 6  # so deep below a folder that was given things are looked for
ENDED_BY_BAD_STEP = "ended by a bad step"
PARTS: tuple[Kind, ...] = ("cell", "trial")


@dataclass(frozen=True, slots=True)
class Found:
    """One thing on disk. `best_loss` is a validation loss; `score` is pass@1, or BLEU where nothing is executed, of `score_of`."""

    path: Path
    kind: Kind
    name: str
    state: str
    done: bool
    model: str = ""
    method: str = ""
    data: str = ""
    changed: float = 0.0  # when the newest of its records was written, in seconds since 1970
    size_bytes: int = 0
    best_loss: float | None = None
    score: float | None = None
    score_of: str = ""  # "basics-known pass@1"; of a study with its row


def find(folders: Sequence[Path], parts: bool = False) -> list[Found]:
    """What is in or below the folders, by path; cells of studies and trials of searches only with `parts`."""
    paths = dict.fromkeys(path for folder in folders for path in _things(folder, _DEPTH))
    found = [found for path in sorted(paths) if (found := look_at(path)) is not None]
    return [one for one in found if parts or one.kind not in PARTS]


def look_at(folder: Path) -> Found | None:
    """What a folder is; None where codetune did not write it."""
    about: dict[str, Any]
    match kind := kind_of(folder):
        case None:
            return None
        case "study":
            about = _study(folder)
        case "data":
            about = _data(folder)
        case "scores":
            about = {"state": "done", "done": True, "model": str(read(folder / RESULT).get("model") or "")} | _score(folder / RESULT)
        case _:
            about = _run(folder)
            if kind == "cell":
                about |= _cell(folder, about)
    about = {"name": folder.name, "changed": _changed(folder), "size_bytes": size_of(folder)} | about
    return Found(folder, kind, **about)


def things_below(folder: Path) -> list[Path]:
    """Every thing that lies in a thing, at whatever depth: a study's cells, a search's trials, scores in a run's folder."""
    return [path for path in _things(folder, _DEPTH) if path != folder]


def planned_cells(study: Path) -> list[str] | None:
    """Names of the cells of a study's present plan; None where that is not known."""
    planned = read(study / STUDY).get("cells")
    return [str(name) for name in planned] if isinstance(planned, list) else None


def headline(result: Json) -> tuple[str, float] | None:
    """The first benchmark of a result with its pass@1, or BLEU where nothing is executed: `("basics-known pass@1", 0.63)`."""
    for name, found in (result.get("benchmarks") or {}).items():
        rates, metrics = found.get("pass_at_k") or {}, found.get("metrics") or {}
        if "1" in rates:
            return f"{name} pass@1", float(rates["1"])
        if metrics.get("bleu") is not None:
            return f"{name} BLEU", float(metrics["bleu"])
    return None


def _things(folder: Path, depth: int) -> Iterator[Path]:
    kind = kind_of(folder)
    if kind:
        yield folder
    if depth == 0 or folder.is_symlink() or not folder.is_dir():
        return
    own = set(WRITTEN[kind]) - set(HOLDERS) if kind else set()
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith(".") and entry.name not in own:
            yield from _things(entry, depth - 1)


def _study(folder: Path) -> dict[str, Any]:
    recipe, planned = read(folder / STUDY), planned_cells(folder)
    there = sorted(path.parent.name for path in (folder / CELLS).glob(f"*/{CELL}"))
    wanted = there if planned is None else planned
    results = {name: found for name in wanted if (found := read(folder / CELLS / name / RESULT))}
    more = len(set(there) - set(wanted))
    state = f"{len(results)} of {len(wanted)} cells" + (f", {more} of earlier plans" if more else "")
    state += ", running" if in_use(folder) else ""
    models = [str(each.get("label") or each.get("name")) if isinstance(each, dict) else str(each) for each in recipe.get("models", ())]
    methods = [str(each.get("label") or each.get("name")) for each in recipe.get("methods", ()) if isinstance(each, dict)]
    data = [str(each.get("source")) for each in recipe.get("data", ()) if isinstance(each, dict)]
    about: dict[str, Any] = {
        "name": str(recipe.get("name") or folder.name), "state": state, "done": bool(wanted) and len(results) == len(wanted),
        "model": _several(models), "method": _several(methods), "data": _several(data),
    }  # fmt: skip
    return about | _best_row(list(results.values()))


def _best_row(results: Sequence[Json]) -> dict[str, Any]:
    """The row with the highest mean over its seeds on the first benchmark; cells that a gate struck out do not count."""
    by_row: dict[tuple[str, str], list[float]] = {}
    for result in results:
        found = headline(result)
        if found and not any(gate.get("level") == "invalid" for gate in result.get("gates") or ()):
            name = result.get("cell") or {}
            by_row.setdefault((str(name.get("row") or name.get("method")), found[0]), []).append(found[1])
    if not by_row:
        return {}
    (row, benchmark), scores = max(by_row.items(), key=lambda item: sum(item[1]) / len(item[1]))
    return {"score": sum(scores) / len(scores), "score_of": f"{benchmark}, {row}"}


def _run(folder: Path) -> dict[str, Any]:
    recipe, result = read(folder / RECIPE), read(folder / TRAINED)
    rows = [] if result else read_rows(folder / METRICS)
    losses = [row["val_loss"] for row in rows if isinstance(row.get("val_loss"), int | float)]
    method = recipe.get("method") or {}
    about: dict[str, Any] = {
        "name": str(recipe.get("name") or folder.name), "model": str(recipe.get("model") or ""),
        "method": str(method.get("label") or method.get("name") or ""), "data": str((recipe.get("data") or {}).get("source") or ""),
        "best_loss": result.get("best_val_loss") if result else min(losses, default=None),
    }  # fmt: skip
    about |= {"state": _how_far(folder, result, rows), "done": bool(result)}
    for scores in sorted(folder.glob(f"*/{RESULT}")):
        if kind_of(scores.parent) == "scores":
            return about | _score(scores)
    return about


def _how_far(folder: Path, result: Json, rows: Sequence[Json]) -> str:
    steps = max((int(row["step"]) for row in rows if "step" in row), default=0)
    if in_use(folder):
        return f"running, step {steps}" if steps else "running"
    if result:
        bad = (result.get("bad_steps") or [{}])[-1]
        return "done" if bad.get("passed_over", True) else ENDED_BY_BAD_STEP
    if any((folder / CHECKPOINT).glob("step-*")):
        return f"stopped near step {steps}"
    return "begun"


def _cell(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    config, result = read(folder / CELL), read(folder / RESULT)
    study = folder.parent.parent
    planned = planned_cells(study)
    state = "done" if result else "trained, not evaluated" if about["done"] else about["state"]
    if in_use(study) and not result:
        state += ", its study runs"
    if planned is not None and folder.name not in planned:
        state += ", of an earlier plan"
    called = result.get("cell") or {key: config.get(key) for key in ("model", "row")} | {"data": config.get("data_label")}
    named = {
        "name": folder.name, "model": str(called.get("model") or about["model"]), "method": str(called.get("row") or about["method"]),
        "data": str(called.get("data") or about["data"]), "state": state, "done": bool(result),
    }  # fmt: skip
    return named | _score(folder / RESULT)


def _data(folder: Path) -> dict[str, Any]:
    manifest = read(folder / MANIFEST)
    splits = manifest.get("splits") or {}
    documents = sum(int(split.get("documents") or 0) for split in splits.values())
    state = f"done, {documents:,} documents" if documents else "done" if manifest else "stopped"
    if in_use(folder):
        state = "running"
    sources = [str(source.get("source")) for source in manifest.get("sources", ()) if isinstance(source, dict)]
    return {"name": str(manifest.get("name") or folder.name), "state": state, "done": bool(manifest), "data": _several(sources)}


def _score(path: Path) -> dict[str, Any]:
    found = headline(read(path))
    return {"score": found[1], "score_of": found[0]} if found else {}


def _several(names: Sequence[str]) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique) if len(unique) <= 4 else f"{', '.join(unique[:3])} and {len(unique) - 3} more"


def _changed(folder: Path) -> float:
    """Of the records right in the folder: what is opened to look at it is not written."""
    times = [entry.stat().st_mtime for entry in folder.iterdir() if entry.is_file() and entry.name != ".lock"]
    return max(times, default=folder.stat().st_mtime)
