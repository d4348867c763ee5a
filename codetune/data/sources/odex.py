"""ODEX (Wang et al. 2023) is a test set: it is given out as its test split alone, to who asks for that by name and file.

Rows: https://github.com/zorazrw/odex
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from codetune.data import odex
from codetune.data.files import Row
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    """A document's text has all that follows its prompt."""
    pair = Document.of(odex.problem(row, row.number))
    yield replace(pair, text=pair.text + row.text("suffix", ""), split="test")


SOURCE = Source(
    "odex",
    documents,
    "439 wishes with tests, a test set: only by path and split: test",
    wants=(("intent", "canonical_solution"),),
    licence="CC BY-SA 4.0",
    schema="https://github.com/zorazrw/odex",
    files={"test": (odex.FILE,)},
    only_test=True,
)
