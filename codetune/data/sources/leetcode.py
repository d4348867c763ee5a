"""LeetCodeDataset (Xia et al. 2025): problems with a solution, tests and difficulty.

Rows: https://huggingface.co/datasets/newfacade/LeetCodeDataset
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from codetune.data import leetcode
from codetune.data.files import Row
from codetune.data.sources.source import Hub, Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    problem, meta = leetcode.problem(row), row.values.get("meta")
    difficulty = meta.get("difficulty") if isinstance(meta, dict) else row.values.get("difficulty")
    facts = {"difficulty": difficulty} if isinstance(difficulty, str) else {}
    yield replace(Document.of(problem), origin=f"https://leetcode.com/problems/{problem.task_id}/", facts=facts)


SOURCE = Source(
    "leetcode",
    documents,
    "1,570 problems with solutions",
    wants=(("task_id", "prompt", "completion", "entry_point", "test"),),
    licence="MIT",
    schema="https://huggingface.co/datasets/newfacade/LeetCodeDataset",
    files={"train": (leetcode.TRAIN_FILE,)},
    hub=Hub("newfacade/LeetCodeDataset"),
)
