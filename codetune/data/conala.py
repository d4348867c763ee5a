"""CoNaLa (Yin et al. 2018): Stack Overflow wishes and the line or lines of Python that answer them; scored as text."""

from __future__ import annotations

from pathlib import Path

from codetune.data.files import read_rows
from codetune.records import Problem

FILE = "conala/conala-test.json"
TRAIN_FILE = "conala/conala-train.json"
PREFIX = "CoNaLa/"


def load(path: Path) -> tuple[Problem, ...]:
    """The test problems; `task_id` is the 0-based row number in the file (`question_id` is not unique)."""
    return _load(path, PREFIX)


def load_train(path: Path) -> tuple[Problem, ...]:
    """The training pairs: 2,379 in the curated training file."""
    return _load(path, "CoNaLa/train/")


def _load(path: Path, prefix: str) -> tuple[Problem, ...]:
    # `rewritten_intent` is null where the annotators left the title as it was (79 training and 23 test rows).
    return tuple(
        Problem(
            task_id=f"{prefix}{number}",
            instruction=row.text("rewritten_intent", "") or row.text("intent"),
            reference=row.text("snippet"),
            source="conala",
        )
        for number, row in enumerate(read_rows(path))
    )
