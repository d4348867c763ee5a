"""Rows of data sets of the Hugging Face hub, streamed: the `datasets` library reads them, whatever files they are in.

Needs the extra `hub`. What goes wrong out there is one line that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from codetune.data.files import Row, short
from codetune.data.read import MAX_CHUNK_BYTES, Chunk, text_size
from codetune.errors import UserError


class Place(Protocol):
    """What a data set of the hub is asked by; see `codetune.data.sources.source.Hub`."""

    @property
    def repository(self) -> str: ...
    @property
    def config(self) -> str | None: ...
    @property
    def revision(self) -> str | None: ...
    def split_there(self, split: str) -> str: ...
    def file_there(self, split: str) -> str: ...


def hub_chunks(place: Place, split: str, folder: str, rows_per_chunk: int, columns: Sequence[str] = ()) -> Iterator[Chunk]:
    """The rows of one split in order; `folder` is where in the repository they are, "" its own arrangement.

    `place.repository` may be a local folder of such files too.
    """
    found, label = _streamed(place, split, folder, columns), "/".join(part for part in (folder, split) if part)
    first, stream = 0, iter(found)
    while items := tuple(_rows(stream, place.repository, label, first, rows_per_chunk)):
        yield Chunk(f"{label}@{first}", place.repository, label, first, items)
        first += len(items)


def _rows(stream: Iterator[dict[str, Any]], repository: str, label: str, first: int, count: int) -> Iterator[Row]:
    size = 0
    for number in range(first, first + count):
        try:
            values = next(stream, None)
        except Exception as error:  # of the network, of several libraries: they share no class
            raise UserError(f"{repository} on the hub: stopped at row {number + 1} of {label} ({_line(error)}); try again") from error
        if values is None:
            return
        yield Row(f"{repository}, {label}, row {number + 1}", values, number)
        size += text_size(values)
        if size >= MAX_CHUNK_BYTES:
            return


def _streamed(place: Place, split: str, folder: str, columns: Sequence[str]) -> Any:
    try:
        import datasets
        from datasets.exceptions import DatasetNotFoundError
    except ImportError:
        raise UserError(f"{place.repository}: reading the hub needs the extra `hub`: pip install 'codetune[hub]'") from None
    options: dict[str, Any] = {"streaming": True, "revision": place.revision, "split": place.split_there(split)}
    try:
        if file := place.file_there(split):
            at = f"{place.repository}@{place.revision}" if place.revision else place.repository
            options |= {"data_files": {options["split"]: f"hf://datasets/{at}/{file}"}, "revision": None}
            found = datasets.load_dataset("json", **options)
        else:
            found = datasets.load_dataset(place.repository, place.config, data_dir=folder or None, **options)
        known = found.column_names or []
        return found.select_columns([name for name in columns if name in known]) if set(columns) & set(known) else found
    except DatasetNotFoundError as error:
        raise UserError(f"{place.repository} on the hub: {_unfound(place.repository, str(error))}") from error
    except Exception as error:  # as above
        raise UserError(f"{place.repository} on the hub cannot be read ({_line(error)})") from error


def _unfound(repository: str, message: str) -> str:
    if "gated" in message or "authenticated" in message:
        return f"it is gated; accept its terms at https://huggingface.co/datasets/{repository} and log in: hf auth login"
    return f"no such data set, or it is private ({short(' '.join(message.split()), 120)})"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {short(' '.join(str(error).split()), 120)}"
