"""What a data source is: how one of its rows becomes documents, where its rows are found, and under which licence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from codetune.data.files import Row, short
from codetune.data.read import Skipped
from codetune.data_recipe import SourceConfig
from codetune.records import Document, Problem

TRAINED = ("train", "validation")  # what a source gives where no split is asked for
Reader = Callable[[Row, SourceConfig], Iterable[Document | Skipped]]


@dataclass(frozen=True, slots=True)
class Hub:
    """A data set on the Hugging Face hub. `files` are read by themselves where its repository is a script, which nothing runs any more."""

    repository: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)  # ours to its own: {"validation": "valid"}
    files: Mapping[str, str] = field(default_factory=dict)  # split to file in the repository
    folders: str = ""  # folder of a language's rows: "data/{language}"
    revision: str | None = None

    def split_there(self, split: str) -> str:
        return self.splits.get(split, split)

    def file_there(self, split: str) -> str:
        return self.files.get(split, "")


@dataclass(frozen=True, slots=True)
class Source:
    """A data source by name, or a form that rows of the user's own may have.

    `documents(row, config)` raises the row's error where it is bad and gives a `Skipped` where it is of no use. A document without an
    id gets its row's number; `config.split` is the split of the row's file where that is known.
    """

    name: str
    documents: Reader
    content: str  # what it is, in a line
    wants: tuple[tuple[str, ...], ...]  # keys by which its rows are known, any of these sets
    licence: str = ""  # of all its documents, where they do not say their own
    schema: str = ""  # where its rows' form is published
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # split to names in the data folder (globs), the first found counts
    hub: Hub | None = None
    settings: frozenset[str] = frozenset()  # keys of SourceConfig that mean something to it
    columns: tuple[str, ...] = ()  # of Parquet, where it has large ones that are of no use; empty: all
    packaged: Callable[[str], tuple[Problem, ...]] | None = None  # what ships with codetune, by split
    only_test: bool = False  # given out to nobody who does not say that it is to test
    elsewhere: str = ""  # how to come by it, where it is not on the hub

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.files) or ("train",)


def number(row: Row, key: str) -> float:
    """The number under `key`; CSV has it as text."""
    value = row.values.get(key)
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise row.error(f"{key!r} must be a number, got {short(value)}" if key in row.values else f"{key!r} is missing")


def name_of(row: Row, key: str) -> str:
    """The text or number under `key`, as a name."""
    value = row.values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise row.error(f"{key!r} must be a name or a number, got {short(value)}" if key in row.values else f"{key!r} is missing")
    return str(value)


def columns_of(row: Row, key: str, names: tuple[str, str]) -> list[tuple[object, object]]:
    """A list of small objects, written one by one or (as `datasets` does) column by column; absent or null is empty."""
    value = row.values.get(key)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return [(each.get(names[0]), each.get(names[1])) for each in value]
    first, second = (value.get(name) for name in names) if isinstance(value, dict) else (None, None)
    if not isinstance(first, list) or not isinstance(second, list) or len(first) != len(second):
        raise row.error(f"{key!r} must hold the lists {names[0]!r} and {names[1]!r}, equally long; got {short(value)}")
    return list(zip(first, second, strict=True))
