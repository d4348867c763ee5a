"""LeetCodeDataset (Xia et al. 2025): 228 problems from after July 2024 to test (v0.3.1), 1,570 earlier ones to train on (v0.1.0).

`prompt` holds the imports and node classes that the site gives; the wish ends with the starter code, whose class the answer completes.
Programs run with the standard library only: the import of sortedcontainers that 17 test prompts make is taken out.
"""

from __future__ import annotations

from pathlib import Path

from codetune.data.files import Row, read_rows
from codetune.records import AssertTest, Problem

FILE = "leetcode/LeetCodeDataset-v0.3.1-test.jsonl.gz"
TRAIN_FILE = "leetcode/LeetCodeDataset-v0.1.0-train.jsonl.gz"


def load(path: Path) -> tuple[Problem, ...]:
    """The problems of either version in file order."""
    return tuple(problem(row) for row in read_rows(path))


def problem(row: Row) -> Problem:
    """A program is prompt, completion, test and `check(entry_point)`; `entry_point` is an expression, as `Solution().twoSum`."""
    description, starter = _wish(row)
    entry_point = row.text("entry_point")
    return Problem(
        task_id=str(row.task_id()),
        instruction=f"{description.strip()}\n\nPlease complete the following python code precisely:\n```python\n{starter.rstrip()}\n```",
        prompt=_standard(row.text("prompt")),
        reference=row.text("completion"),
        entry_point=entry_point,
        tests=(AssertTest(f"{row.text('test')}\ncheck({entry_point})\n"),),
        source="leetcode",
        timeout_s=10.0,
    )


def _standard(prompt: str) -> str:
    lines = (line for line in prompt.splitlines() if not line.startswith("from sortedcontainers import"))
    return "\n".join(lines).rstrip() + "\n\n\n"


def _wish(row: Row) -> tuple[str, str]:
    """Description and starter code; v0.1.0 keeps them in `meta`."""
    meta = row.values.get("meta")
    if not isinstance(meta, dict):
        return row.text("problem_description"), row.text("starter_code")
    inner = Row(f"{row.where}, 'meta'", meta)
    return inner.text("question_title"), inner.text("lang_code")
