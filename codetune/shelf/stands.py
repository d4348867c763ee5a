"""Who stands on what: runs that start from another run, studies that evaluate it or whose plan needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.models.stages import ADAPTER, read
from codetune.shelf.find import planned_cells
from codetune.shelf.kinds import RECIPE, STUDY, Kind


@dataclass(frozen=True, slots=True)
class Stand:
    """`who` would be left without something that is to be removed, `how` says what that means for it."""

    who: Path
    how: str


def stands_on(folder: Path, kind: Kind, things: Sequence[Path]) -> list[Stand]:
    """Which of the `things` need the folder: trained on it, gone on from it, evaluated as a row, or a plan's own cell."""
    found = [Stand(thing, how) for thing in things if thing != folder and (how := _needs(thing, folder))]
    if kind == "cell" and folder.name in (planned_cells(folder.parent.parent) or ()):
        found.append(Stand(folder.parent.parent, "its plan has the cell: the next `study run` does it again"))
    return found


def _needs(thing: Path, folder: Path) -> str:
    recipe, study = read(thing / RECIPE), read(thing / STUDY)
    if _is_of(recipe.get("model"), thing, folder):
        return "was trained on it, and cannot be used without"
    if _is_of(recipe.get("start"), thing, folder):
        return "went on from it"
    if _is_of((recipe.get("data") or {}).get("source"), thing, folder):
        return "was trained on this data"
    if any(_is_of(name, thing, folder) for name in _named_by(study)):
        return "its study names it"
    return ""


def _named_by(study: dict[str, Any]) -> Iterator[Any]:
    for each in study.get("models", ()):
        yield each.get("name") if isinstance(each, dict) else each
    for row in study.get("rows", ()):
        yield from (row.get("adapter"), row.get("tuned"))
    for data in study.get("data", ()):
        yield data.get("source") if isinstance(data, dict) else data


def _is_of(name: Any, thing: Path, folder: Path) -> bool:
    """Whether a name in a record is the folder or its adapter: as it stands, or from a working folder above the record."""
    if not isinstance(name, str) or not name:
        return False
    targets = {folder.resolve(), (folder / ADAPTER).resolve()}
    places = [Path(name)] if Path(name).is_absolute() else [Path(name), *(above / name for above in thing.resolve().parents)]
    return any(place.resolve() in targets for place in places)
