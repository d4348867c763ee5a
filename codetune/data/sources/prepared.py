"""A folder that `codetune data prepare` wrote, as a source of another recipe: Parquet files whose columns are a document's fields."""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data.files import Row
from codetune.data.prepared.columns import document_of
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    try:
        yield document_of(row.values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise row.error(f"is no document of a prepared folder ({error}); prepare it again") from error


_SPLITS: dict[str, tuple[str, ...]] = {"train": (), "validation": (), "test": ()}
SOURCE = Source("prepared", documents, "a folder that `codetune data prepare` wrote", wants=(), files=_SPLITS)
