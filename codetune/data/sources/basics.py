"""`basics`: small functions with tests, made by code, which ship with codetune."""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data import basics
from codetune.data.files import Row
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    raise row.error("basics is not read from rows")


SOURCE = Source(
    "basics",
    documents,
    "4,800 small functions of 79 families, each with tests",
    wants=(),
    licence="Apache-2.0",
    schema="codetune/data/basics",
    files={"train": (), "validation": ()},
    packaged=basics.load,
)
