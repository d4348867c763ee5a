"""Opens a source, cuts it into chunks, and makes documents of a chunk in whatever process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from codetune.data import read
from codetune.data.codebase.code import CodeChunk, read_code_chunk
from codetune.data.codebase.licences import is_allowed
from codetune.data.files import DATA_VARIABLE, Row
from codetune.data.hub import hub_chunks
from codetune.data.languages import canonical, hub_folder
from codetune.data.prepared.columns import unwritable
from codetune.data.prepared.read import is_prepared
from codetune.data.read import BadRow, Chunk, Skipped
from codetune.data.sources import prepared
from codetune.data.sources.code_folder import CODE, OpenedCode, given_keys, identity_of, is_code, open_code
from codetune.data.sources.locate import File, data_folder, named_files, own_files, wanted_splits
from codetune.data.sources.registry import FORMS, SOURCES, form_of
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.errors import UserError, nearest
from codetune.records import Document

OTHER_LICENCE = "under another licence"
_SETTINGS = ("min_score", "max_solutions", "languages", "make")


@dataclass(frozen=True, slots=True)
class SourceChunk:
    """Rows of a source, still to be parsed, with all that it takes to make documents of them in another process."""

    name: str  # the same in every run, its own among the source's chunks
    source: str  # a key of SOURCES
    config: SourceConfig  # with split and languages narrowed to those of the rows' file
    called: str  # the documents' `source`
    split: str  # the documents', where they do not say
    rows: Chunk
    documents: tuple[Document, ...] = ()  # of what ships with codetune
    share: float = 0.0  # of the source, read up to this chunk's end, as far as that is known


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose files are found. `called` is the name that its documents carry."""

    called: str
    source: Source
    config: SourceConfig
    files: tuple[File, ...] = ()  # none: from the package, or the hub

    @property
    def name(self) -> str:
        return self.called

    @property
    def licence(self) -> str:
        """Of all its documents; "" where they state their own."""
        return self.source.licence

    @property
    def identity(self) -> str:
        """Another one where the files are others; of the hub the place, with its revision."""
        if self.files:
            return identity_of(file.path for file in self.files)
        return f"{self.source.hub}" if self.source.packaged is None else f"codetune {importlib.metadata.version('codetune')}"

    def chunks(self, rows_per_chunk: int) -> Iterator[SourceChunk]:
        """All its rows in order."""
        if self.source.packaged is not None:
            yield from self._packaged(rows_per_chunk)
        elif not self.files:
            yield from self._from_hub(rows_per_chunk)
        before, total = 0, max(1, sum(file.path.stat().st_size for file in self.files))
        for file in self.files:
            for rows in read.chunks_of(file.path, file.label, rows_per_chunk, self.source.columns):
                chunk = self._chunk(rows, f"{file.label}@{rows.first}", file.split, file.language)
                yield replace(chunk, share=(before + rows.read_bytes) / total)
            before += file.path.stat().st_size

    def _chunk(self, rows: Chunk, name: str, split: str, language: str) -> SourceChunk:
        narrowed = {"split": split or self.config.split} | ({"languages": (language,)} if language else {})
        # A split for training alone is yet to be dealt; beside a validation split of the source's own it is what it is.
        stated = split if split != "train" or "validation" in self.source.splits else ""
        return SourceChunk(name, self.source.name, self.config.model_copy(update=narrowed), self.called, stated, rows)

    def _packaged(self, rows_per_chunk: int) -> Iterator[SourceChunk]:
        assert self.source.packaged is not None
        for split in wanted_splits(self.source, self.config.split):
            problems = self.source.packaged(split)
            for first in range(0, len(problems), rows_per_chunk):
                chunk = self._chunk(Chunk(split, split, split, first), f"{split}@{first}", split, "")
                made = (Document.of(problem, split=split, licence=self.licence) for problem in problems[first : first + rows_per_chunk])
                yield replace(chunk, documents=tuple(made))

    def _from_hub(self, rows_per_chunk: int) -> Iterator[SourceChunk]:
        hub = self.source.hub
        assert hub is not None
        languages = [canonical(each) for each in self.config.languages] if hub.folders else [""]
        for split, language in itertools.product(wanted_splits(self.source, self.config.split), languages):
            folder = hub_folder(hub.folders, language) if language else ""
            try:
                for chunk in hub_chunks(hub, split, folder, rows_per_chunk, self.source.columns):
                    yield self._chunk(chunk, f"{chunk.label}@{chunk.first}", split, language)
            except UserError as error:
                names = " or ".join(self.source.files[split])
                raise UserError(f"{error}; or put {names} into the folder that {DATA_VARIABLE} names, or give its path") from error


def open_source(config: SourceConfig, root: Path | None = None) -> Opened | OpenedCode:
    """Find a source's files: in `config.path`, in `root` (the recipe's path), in CODETUNE_DATA; else it is read from the hub.

    Raises UserError for an unknown name, a missing file, rows of no known form, and a setting that the source has no use for.
    """
    if config.source == CODE:
        return open_code(config.path or root, config)
    source = SOURCES.get(config.source)
    if source is None:
        return _own(config, root)
    _require_use(source, config)
    files: list[File] = []
    if config.path is not None:
        files = _given(source, config.path, config.split)
    elif source.packaged is None:
        files = _searched(source, config, root)
    if not files and source.packaged is None:
        _require_hub(source, config)
    wanted_splits(source, config.split) if source.files else None
    return Opened(source.name, source, config, tuple(_of_languages(source, files, config)))


def _own(config: SourceConfig, root: Path | None) -> Opened | OpenedCode:
    """A file or folder of the user's own, whose rows say what they are."""
    path = Path(config.source)
    if config.path is not None or not ("/" in config.source or path.suffix or path.exists() or "*" in config.source):
        names = sorted([*SOURCES, CODE])
        raise UserError(f"unknown data source {config.source!r}; {nearest(config.source, names)}, or a file or folder")
    if root is not None and not path.exists() and (root / path).exists():
        path = root / path
    if is_prepared(path):
        source = prepared.SOURCE
        files = [file for file in own_files(path, config.split) if file.path.suffix == ".parquet"]
    elif is_code(path):
        return open_code(path, config)
    else:
        files = own_files(path, config.split)
        source = form_of([file.path for file in files])
    _require_use(source, config)
    called = source.name if source.name not in FORMS else files[0].label if path.is_file() else path.resolve().name
    return Opened(called, source, config, tuple(_of_languages(source, files, config)))


def _given(source: Source, path: Path, split: str) -> list[File]:
    """The files of a path that the recipe names: in a folder those of the source's own names, else all."""
    if source.packaged is not None:
        raise UserError(f"{source.name!r} ships with codetune and takes no file, got {path}; leave it out")
    named = named_files(source, path, split) if path.is_dir() and source.files else []
    if named or path.is_dir() or not source.files or split not in source.splits:
        return named or own_files(path, split)
    return [replace(file, split=split) for file in own_files(path, "")]


def _searched(source: Source, config: SourceConfig, root: Path | None) -> list[File]:
    for folder in (root, data_folder()):
        if folder is not None and folder.is_dir() and (files := named_files(source, folder, config.split, inside=folder == root)):
            return files
    if root is not None and not is_code(root) and (root.exists() or not source.files):
        return _given(source, root, config.split)
    return []


def _require_hub(source: Source, config: SourceConfig) -> None:
    """The hub is the last resort: its library must be there."""
    wanted_splits(source, config.split)
    if source.elsewhere:
        raise UserError(f"{source.name}: {source.elsewhere}")
    names = [pattern for patterns in source.files.values() for pattern in patterns]
    if not names:
        raise UserError(f"{source.name!r} is a form of files: give the file as path")
    folder = data_folder()
    missing = f"{names[0]} is " + (f"not in {folder} ({DATA_VARIABLE})" if folder else f"needed but {DATA_VARIABLE} is not set")
    if source.hub is None:
        raise UserError(f"{missing}; put it there, or give its path")
    if importlib.util.find_spec("datasets") is None:
        raise UserError(f"{missing}; put it there, give its path, or fetch it from the hub: pip install 'codetune[hub]'")


def _require_use(source: Source, config: SourceConfig) -> None:
    for key in _SETTINGS:
        if key in given_keys(config) and key not in source.settings:
            users = sorted([name for name, each in SOURCES.items() if key in each.settings] or [CODE])
            raise UserError(f"source {source.name!r} has no use for {key!r} (which is for {', '.join(users)}); leave it out")
    if source.only_test and (config.split != "test" or (config.path is None and config.source in SOURCES)):
        raise UserError(f"{source.name} is a test set, and spoilt by training on it; if you mean to, give its path and split: test")


def _of_languages(source: Source, files: list[File], config: SourceConfig) -> list[File]:
    """Where a folder for each language is usual, the files of those that are asked for."""
    asked = {canonical(each) for each in config.languages}
    if source.hub is None or not source.hub.folders or not asked & {file.language for file in files}:
        return [replace(file, language="") for file in files]
    return [file for file in files if not file.language or file.language in asked]


def read_chunk(chunk: SourceChunk | CodeChunk) -> Iterator[Document | BadRow | Skipped]:
    """The documents of a chunk in order, what is wrong with rows, and what was left out; ids are unique but for the data's own."""
    if isinstance(chunk, CodeChunk):
        for item in read_code_chunk(chunk):
            fault = unwritable(item) if isinstance(item, Document) else ""
            yield BadRow(item.origin, fault) if isinstance(item, Document) and fault else item
        return
    for document in chunk.documents:
        yield document if _wanted(document, chunk.config) else Skipped(document.id, OTHER_LICENCE)
    source = SOURCES[chunk.source]
    for row in read.rows(chunk.rows):
        yield from (row,) if isinstance(row, BadRow) else _made(row, source, chunk)


def _made(row: Row, source: Source, chunk: SourceChunk) -> list[Document | BadRow | Skipped]:
    """All of a row or, where it is bad, nothing but that."""
    try:
        made = list(source.documents(row, chunk.config))
    except UserError as error:
        return [BadRow(row.where, str(error).removeprefix(f"{row.where}: "))]
    place = row.where.removeprefix(chunk.rows.file)
    finished: list[Document | BadRow | Skipped] = []
    for number, each in enumerate(made):
        if isinstance(each, Document):
            if fault := unwritable(each):
                return [BadRow(row.where, fault)]
            each = replace(
                each,
                id=each.id or f"{chunk.rows.label}/{row.number}" + (f"-{number}" if number else ""),
                source=chunk.called,
                origin=each.origin or f"{Path(chunk.rows.file).name}{place}",
                licence=each.licence or source.licence,
                split=each.split or chunk.split,
            )
            if not _wanted(each, chunk.config):
                each = Skipped(row.where, OTHER_LICENCE)
        finished.append(each)
    return finished


def _wanted(document: Document, config: SourceConfig) -> bool:
    return not config.licences or is_allowed(document.licence, config.licences)
