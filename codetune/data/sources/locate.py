"""Finds a source's files: where the recipe says, else in the folder that CODETUNE_DATA names; and which split a file is of."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from codetune.data.files import DATA_VARIABLE
from codetune.data.languages import canonical
from codetune.data.read import files_of, is_data
from codetune.data.sources.source import TRAINED, Source
from codetune.errors import UserError, nearest

_SPLIT = re.compile(r"(?:^|[^a-z])(train|valid|validation|val|dev|test)(?=[^a-z]|$)")
_OURS = {"valid": "validation", "val": "validation", "dev": "validation"}


@dataclass(frozen=True, slots=True)
class File:
    """A file of a source. `split` and `language` are "" where the file's place does not say them."""

    path: Path
    label: str  # its own among the source's files
    split: str = ""
    language: str = ""


def wanted_splits(source: Source, split: str) -> tuple[str, ...]:
    """The splits that are asked for; none in particular: those that are there to train on."""
    if split and split not in source.splits:
        raise UserError(f"{source.name!r} has no split {split!r}; {nearest(split, source.splits)}")
    return (split,) if split else tuple(each for each in source.splits if each in TRAINED)


def named_files(source: Source, folder: Path, split: str, inside: bool = True) -> list[File]:
    """The source's files of the wanted splits in a folder of data sets or, with `inside`, in the source's own folder."""
    in_one = len(set(source.files.values())) < len(source.files)  # all splits are in one file, and its rows tell
    found: dict[Path, File] = {}
    for wanted in wanted_splits(source, split):
        for path, label, language in _first(folder, source.files.get(wanted, ()), inside):
            found[path] = File(path, label, "" if in_one else wanted, language)
    return list(found.values())


def own_files(path: Path, split: str) -> list[File]:
    """All data files of a path; in a folder with files of several splits those of the wanted one, by their names."""
    found = files_of(path)
    if len(found) == 1:
        if split not in ("", "train"):
            raise UserError(f"{str(path)!r} has no split {split!r}; valid: train")
        return [File(*found[0])]
    files = [File(file, label, split_of(file, path), _language(file, path)) for file, label in found]
    splits = {file.split or "train" for file in files}
    if split and split not in splits:
        raise UserError(f"{str(path)!r} has no split {split!r}; {nearest(split, splits)}")
    return [file for file in files if (file.split or "train") in ((split,) if split else TRAINED)]


def split_of(file: Path, base: Path) -> str:
    """The split that a file's name, or a folder below `base`, stands for; "" where none does."""
    names = [file.name, *(folder.name for folder in file.parents if folder != base and base in folder.parents)]
    found = next((match[1] for name in names if (match := _SPLIT.search(name.lower()))), "")
    return _OURS.get(found, found)


def data_folder() -> Path | None:
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder) if folder else None


def _first(folder: Path, patterns: Iterable[str], inside: bool) -> list[tuple[Path, str, str]]:
    """What the first pattern that matches something matches: paths with labels and languages."""
    bare = [name for pattern in patterns if inside and (name := pattern.partition("/")[2])]
    for pattern in (*patterns, *bare):
        found: dict[str, tuple[Path, str]] = {}
        for match in sorted(folder.glob(pattern)):
            if match.is_dir():
                found |= {path.relative_to(match.parent).as_posix(): (path, _language(path, match)) for path in _below(match)}
            elif is_data(Path(match.name)):
                found[match.name] = (match, "")
        if found:
            bases = Counter(name.partition(".")[0] for name in found)
            return [
                (path, short if bases[short := name.partition(".")[0]] == 1 else name, language)
                for name, (path, language) in sorted(found.items())
            ]
    return []


def _below(folder: Path) -> list[Path]:
    try:
        return [path for path, _ in files_of(folder)]
    except UserError:  # none in it
        return []


def _language(file: Path, base: Path) -> str:
    """The folder's name, for sources that have a folder for each language."""
    return canonical(file.parent.name) if file.parent != base else ""
