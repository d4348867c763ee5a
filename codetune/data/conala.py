"""CoNaLa (Yin et al. 2018): Stack Overflow wishes and the line or lines of Python that answer them; scored as text."""

from __future__ import annotations

from pathlib import Path

from codetune.data.files import Row, read_rows
from codetune.records import Problem

FILE = "conala/conala-test.json"
TRAIN_FILE = "conala/conala-train.json"
PREFIX = "CoNaLa/"
TRAIN_PREFIX = "CoNaLa/train/"


def load(path: Path) -> tuple[Problem, ...]:
    """The test problems; `task_id` is the 0-based row number in the file (`question_id` is not unique)."""
    return _load(path, PREFIX)


def load_train(path: Path) -> tuple[Problem, ...]:
    """The training pairs: 2,379 in the curated training file."""
    return _load(path, TRAIN_PREFIX)


def problem(row: Row, task_id: str) -> Problem:
    """`rewritten_intent` is null where the annotators left the title as it was (79 training and 23 test rows)."""
    wish = row.text("rewritten_intent", "") or row.text("intent")
    return Problem(task_id, instruction=wish, reference=row.text("snippet"), source="conala")


def _load(path: Path, prefix: str) -> tuple[Problem, ...]:
    return tuple(problem(row, f"{prefix}{number}") for number, row in enumerate(read_rows(path)))
