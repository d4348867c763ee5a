"""Reads other people's files as streams of rows, where one bad row costs that row alone and the work is cut into chunks for processes.

JSONL, JSON lists, CSV with a header, plain or compressed by gzip or Zstandard, Parquet, and folders and globs of these; what a file is
its content says. The process that calls `chunks` only cuts: workers decode and parse, in `rows`. Benchmarks are read by `files`, strictly.
"""

from __future__ import annotations

import glob
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from codetune.data.cut import BadRow, Item, opened, pieces
from codetune.data.files import Row, parsed, short
from codetune.errors import UserError

__all__ = ["MAX_CHUNK_BYTES", "BadRow", "Chunk", "Skipped", "chunks", "chunks_of", "files_of", "is_data", "rows", "text_size"]

MAX_CHUNK_BYTES = 32 << 20
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
_COMPRESSED = ("", ".gz", ".zst")
_NO_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # what the hub's tools leave beside data


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was read and is of no use, and why: the reason is a fixed text, so that it can be counted."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of one file, still to be parsed: the lines themselves, or the place of row groups in a Parquet file."""

    name: str  # the file's name and the number of its first row: the same in every run
    file: str  # as messages name it
    label: str  # what tells its file from others that are read with it
    first: int  # the number of its first row in the file, from 0
    items: tuple[Item, ...] = ()
    groups: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()  # of Parquet; empty: all
    read_bytes: int = 0  # of the file, up to this chunk's end


def chunks(path: Path, rows_per_chunk: int, columns: Sequence[str] = ()) -> Iterator[Chunk]:
    """The rows of a file, folder or glob in order. Raises UserError where nothing is there to read."""
    for file, label in files_of(path):
        yield from chunks_of(file, label, rows_per_chunk, columns)


def rows(chunk: Chunk) -> Iterator[Row | BadRow]:
    """The chunk's rows in order; a `BadRow` for each that cannot be read."""
    if chunk.groups:
        yield from _parquet_rows(chunk)
    for number, item in enumerate(chunk.items, chunk.first):
        yield _parsed_row(chunk.file, number, *item) if isinstance(item, tuple) else item


def files_of(path: Path) -> list[tuple[Path, str]]:
    """The data files of a path, each with a label that is its own: its path without suffixes, in a folder relative to that."""
    if path.is_file():
        return [(path, _bare(path.name))]
    if path.is_dir():
        found, base = sorted(each for each in path.rglob("*") if is_data(each.relative_to(path)) and each.is_file()), path
    else:
        found = sorted(Path(each) for each in glob.glob(str(path), recursive=True) if Path(each).is_file())
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    if not found:
        what = " has no data file in it" if path.is_dir() else ": no file matches" if glob.has_magic(str(path)) else " not found"
        made = "" if path.exists() or path.suffix else "; where a recipe makes it, run `codetune data prepare` with that first"
        raise UserError(f"{path}{what}; give a file or a folder of files *{', *'.join(SUFFIXES)}, plain, .gz or .zst{made}")
    names = [each.relative_to(base).as_posix() for each in found]
    labels = Counter(map(_bare, names))
    return [(each, _bare(name) if labels[_bare(name)] == 1 else name) for each, name in zip(found, names, strict=True)]


def is_data(path: Path) -> bool:
    """Whether a file, by its name, holds rows; what is hidden does not."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.name not in _NO_DATA and path.name.lower().endswith(_ENDINGS)


_ENDINGS = tuple(suffix + packed for suffix in SUFFIXES for packed in _COMPRESSED)


def _bare(name: str) -> str:
    ending = max((each for each in _ENDINGS if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(ending)] or name


def chunks_of(file: Path, label: str, rows_per_chunk: int, columns: Sequence[str] = ()) -> Iterator[Chunk]:
    """The chunks of one file."""
    with opened(file) as (stream, position):
        if stream is None:  # Parquet
            yield from _parquet_chunks(file, label, rows_per_chunk, tuple(columns))
            return
        first, items, size = 0, list[Item](), 0
        for item in pieces(file, stream):
            items.append(item)
            size += len(item[1]) if isinstance(item, tuple) else text_size(item.values) if isinstance(item, Row) else 0
            if len(items) >= rows_per_chunk or size >= MAX_CHUNK_BYTES:
                yield Chunk(f"{file.name}@{first}", str(file), label, first, tuple(items), read_bytes=position())
                first, items, size = first + len(items), [], 0
        if items:
            yield Chunk(f"{file.name}@{first}", str(file), label, first, tuple(items), read_bytes=position())


def text_size(value: object) -> int:
    """The characters of all strings in a row's values."""
    if isinstance(value, str):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(text_size, inner))


def _parsed_row(file: str, number: int, place: str, raw: bytes) -> Row | BadRow:
    where = f"{file}, {place}"
    if b"\0" in raw:
        return BadRow(where, "holds NUL bytes; fetch the file again, or take them out")
    try:
        value = parsed(where, raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRow(where, f"not UTF-8 text (byte {error.start + 1} of the line); save it as UTF-8")
    except UserError as error:
        cut = place.startswith("line") and not raw.endswith(b"\n")
        ending = "; the file ends with this line, perhaps in its middle: fetch it again" if cut else ""
        return BadRow(where, str(error).removeprefix(f"{where}: ") + ending)
    return Row(where, value, number) if isinstance(value, dict) else BadRow(where, f"expected a JSON object, got {short(value)}")


def _parquet_chunks(file: Path, label: str, rows_per_chunk: int, columns: tuple[str, ...]) -> Iterator[Chunk]:
    """Whole row groups, as many as hold the rows asked for: no group is read twice."""
    try:
        with pq.ParquetFile(file) as table:
            counts = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
            sizes = [table.metadata.row_group(group).total_byte_size for group in range(table.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        fault = BadRow(str(file), f"broken Parquet file ({_line(error)}); fetch it again")
        yield Chunk(f"{file.name}@0", str(file), label, 0, (fault,))
        return
    first, groups, size = 0, list[int](), 0
    for group in range(len(counts)):
        groups.append(group)
        size += sizes[group]
        number = sum(counts[each] for each in groups)
        if number >= rows_per_chunk or size >= MAX_CHUNK_BYTES or group + 1 == len(counts):
            read = file.stat().st_size * (group + 1) // len(counts)
            yield Chunk(f"{file.name}@{first}", str(file), label, first, (), tuple(groups), columns, read)
            first, groups, size = first + number, [], 0


def _parquet_rows(chunk: Chunk) -> Iterator[Row | BadRow]:
    try:
        table = pq.ParquetFile(chunk.file)
    except (pa.ArrowException, OSError) as error:
        yield BadRow(chunk.file, f"cannot be read any more ({_line(error)})")
        return
    with table:
        columns = [name for name in table.schema_arrow.names if not chunk.columns or name in chunk.columns]
        first = chunk.first
        for group in chunk.groups:
            number, end = first, first + table.metadata.row_group(group).num_rows
            try:
                for batch in table.iter_batches(batch_size=256, row_groups=[group], columns=columns):
                    for values in _values(batch):
                        where = f"{chunk.file}, row {number + 1}"
                        yield Row(where, values, number) if values is not None else BadRow(where, "not UTF-8 text; write the file again")
                        number += 1
            except (pa.ArrowException, OSError) as error:
                yield BadRow(f"{chunk.file}, row {number + 1}", f"cannot be read, to row {end} ({_line(error)}); fetch the file again")
            first = end


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, object] | None]:
    """The batch's rows; None for one whose strings are no text."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _line(error: Exception) -> str:
    return short(" ".join(str(error).split()), 120)
