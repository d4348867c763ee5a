"""HumanEval (Chen et al. 2021): 164 functions to complete from signature and docstring, each with a `check` function."""

from __future__ import annotations

from pathlib import Path

from codetune.data.files import read_rows
from codetune.records import AssertTest, Problem

FILE = "humaneval/HumanEval.jsonl.gz"
PREFIX = "HumanEval/"


def load(path: Path) -> tuple[Problem, ...]:
    """The problems in file order. Prompts keep their final newline: stripping it costs points."""
    problems = []
    for row in read_rows(path):
        entry_point = row.text("entry_point")
        problems.append(
            Problem(
                task_id=str(row.task_id()),
                prompt=row.text("prompt"),
                reference=row.text("canonical_solution", ""),
                entry_point=entry_point,
                tests=(AssertTest(f"{row.text('test')}\ncheck({entry_point})\n"),),
                source="humaneval",
            )
        )
    return tuple(problems)
