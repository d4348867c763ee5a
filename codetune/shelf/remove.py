"""Removes what codetune wrote and nothing else: never what is being written, and told before what stands on it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.errors import UserError
from codetune.runs import in_use, locked
from codetune.shelf.find import ENDED_BY_BAD_STEP, find, planned_cells, things_below
from codetune.shelf.kinds import CELL, CELLS, CHECKPOINT, HOLDERS, TRAINED, WORK, Kind, kind_of, own_entries, size_of
from codetune.shelf.stands import Stand, stands_on


@dataclass(frozen=True, slots=True)
class Removal:
    """A folder that may be removed: its bytes, who stands on it, and whether only its checkpoints go."""

    folder: Path
    kind: Kind
    size_bytes: int
    stands: tuple[Stand, ...] = ()
    only_checkpoint: bool = False


def plan_removal(folders: Sequence[Path], shelves: Sequence[Path]) -> list[Removal]:
    """What removing these folders comes to. Raises UserError for what is no run, is a link, or is being written.

    `shelves` are the folders under which to look for what stands on them; what is removed along does not count.
    """
    kinds = {folder: _removable(folder) for folder in dict.fromkeys(folders)}
    everything = [each.path for each in find([*shelves, *(folder.parent for folder in kinds)], parts=True)]
    gone = {path.resolve() for folder in kinds for path in (folder, *things_below(folder))}
    left = [path for path in everything if path.resolve() not in gone]
    return [Removal(folder, kind, _own_bytes(folder, kind), tuple(_stands(folder, kind, left, gone))) for folder, kind in kinds.items()]


def unplanned(study: Path) -> list[Path]:
    """Cells of earlier plans of a study. Raises UserError where the folder is no study, or does not say which cells its plan has."""
    if kind_of(study) != "study":
        raise UserError(f"{study} is no study: --unplanned goes with a folder that `codetune study run` wrote")
    planned = planned_cells(study)
    if planned is None:
        raise UserError(f"{study / 'study.json'} does not say which cells its plan has: run `codetune study run` once more")
    return sorted(path.parent for path in (study / CELLS).glob(f"*/{CELL}") if path.parent.name not in planned)


def plan_checkpoints(folders: Sequence[Path]) -> list[Removal]:
    """Checkpoints of finished runs in or below the folders. Raises UserError for a folder that holds nothing of codetune's."""
    found: dict[Path, Removal] = {}
    for folder in folders:
        things = find([folder], parts=True)
        if not things:
            raise UserError(f"{folder} holds no run: give folders as `codetune runs list` shows them")
        for each in things:
            checkpoint = each.path / CHECKPOINT
            if checkpoint.is_dir() and (each.path / TRAINED).exists() and not _busy(each.path, each.kind):
                ended = Stand(each.path, "ended before a bad step and could go on from its checkpoint, at a lower rate")
                stands = () if each.state != ENDED_BY_BAD_STEP else (ended,)
                found[each.path] = Removal(each.path, each.kind, size_of(checkpoint), stands, only_checkpoint=True)
    return list(found.values())


def remove(removal: Removal) -> list[Path]:
    """Remove it; gives what stays because codetune did not write it. Raises UserError where the folder has come into use meanwhile."""
    folder = removal.folder
    if _busy(folder, removal.kind):
        raise UserError(f"{folder} is in use by another codetune process: wait for it, or stop it first")
    with locked(folder.parent.parent) if removal.kind == "cell" else contextlib.nullcontext(), locked(folder):
        if removal.only_checkpoint:
            shutil.rmtree(folder / CHECKPOINT)
            return []
        below = things_below(folder)
        if removal.kind == "data":
            (folder / WORK).mkdir(exist_ok=True)  # so that it stays known as data until the last
        for thing in sorted(below, key=lambda path: -len(path.parts)):
            if (kind := kind_of(thing)) is not None:
                _clear(thing, kind)
        _clear(folder, removal.kind)
    return sorted(path for path in folder.rglob("*") if not path.is_dir()) if folder.exists() else []


def _removable(folder: Path) -> Kind:
    if folder.is_symlink():
        raise UserError(f"{folder} is a link to {folder.resolve()}: give that folder itself")
    if not folder.is_dir():
        raise UserError(f"no run {folder}: there is no such folder; `codetune runs list` shows what there is")
    kind = kind_of(folder)
    if kind is None:
        below = [each.path for each in find([folder])]
        hint = f"it holds {len(below)} ({below[0]}): name them one by one" if below else "codetune did not write it"
        raise UserError(f"{folder} is no run, and nothing in it was removed: {hint}")
    if _busy(folder, kind):
        raise UserError(f"{folder} is being written by another codetune process: wait for it, or stop it first")
    return kind


def _busy(folder: Path, kind: Kind) -> bool:
    """Whether the folder, what is in it, or the study of a cell is held by a process."""
    above = [folder.parent.parent] if kind in ("cell", "trial") else []
    return any(map(in_use, [folder, *above, *things_below(folder)]))


def _stands(folder: Path, kind: Kind, left: Sequence[Path], gone: set[Path]) -> list[Stand]:
    """Who stands on the folder or on anything in it; each once."""
    found: dict[Path, Stand] = {}
    for thing in (folder, *things_below(folder)):
        if (thing_kind := kind_of(thing)) is not None:
            for stand in stands_on(thing, thing_kind, left):
                if stand.who.resolve() not in gone:
                    found.setdefault(stand.who, stand)
    return list(found.values())


def _own_bytes(folder: Path, kind: Kind) -> int:
    """What removing it frees: what codetune wrote in it and in the things below."""
    things = [(folder, kind), *((path, below) for path in things_below(folder) if (below := kind_of(path)) is not None)]
    return sum(size_of(entry) for thing, its in things for entry in own_entries(thing, its) if entry.name not in HOLDERS)


def _clear(folder: Path, kind: Kind) -> None:
    """Everything in a folder that is codetune's; then the folder, where that was all."""
    for entry in own_entries(folder, kind):
        if entry.name in HOLDERS and entry.is_dir() and not entry.is_symlink():
            _drop_if_empty(entry)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    _drop_if_empty(folder)


def _drop_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
