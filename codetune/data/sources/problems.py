"""Problems of the user's own, in the form that benchmarks have too (`codetune.data.own`), each with a reference."""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data import own
from codetune.data.files import Row
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    problem = own.problem(row, "")
    if not problem.reference:
        raise row.error("'reference' is missing; training needs the answer")
    yield Document.of(problem)


SOURCE = Source(
    "problems",
    documents,
    "problems of your own: task_id, instruction or prompt, reference, tests",
    wants=(("task_id", "instruction"), ("task_id", "prompt"), ("task_id", "reference")),
    schema="docs/benchmarks.md",
)
