"""MBPP (Austin et al. 2021): its training tasks 601-974 and validation tasks 511-600, each with three asserts.

Rows: https://github.com/google-research/google-research/tree/master/mbpp
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from codetune.data import mbpp
from codetune.data.files import Row
from codetune.data.read import Skipped
from codetune.data.sources.source import TRAINED, Hub, Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """The split follows from the task's number."""
    problem = mbpp.problem(row)
    number = int(problem.task_id.removeprefix(mbpp.PREFIX))
    split = next((name for name, numbers in mbpp.SPLITS.items() if number in numbers), "")
    if split not in ((config.split,) if config.split else TRAINED):
        yield Skipped(row.where, f"belongs to the split {split or 'of no name'}")
        return
    yield replace(Document.of(problem), split="train" if split == "examples" else split)


SOURCE = Source(
    "mbpp",
    documents,
    "374 of the 974 tasks, ids 601-974",
    wants=(("task_id", "code", "test_list"),),
    licence="CC BY 4.0",
    schema="https://github.com/google-research/google-research/tree/master/mbpp",
    files=dict.fromkeys(("train", "validation", "examples", "test"), (mbpp.FILE,)),
    hub=Hub("google-research-datasets/mbpp", "full", splits={"examples": "prompt"}),
)
