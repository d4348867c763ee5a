"""ODEX (Wang et al. 2023): CoNaLa-style wishes with tests; 327 of the 439 English rows, those that need only the standard library.

Left out are 107 rows that need numpy, pandas, matplotlib, scipy, requests, flask, django, bs4, sqlalchemy, multidict, regex, obspy, pytz,
mock, or imp (gone from Python 3.12), and 5 whose own references fail: 4 without a network, 1 from Python 3.11 on. The prompt is the
function's head with the wish as its docstring, as published; a `suffix` (`return` of what the wish made) follows the completion. Code
is indented by tabs.
"""

from __future__ import annotations

from pathlib import Path

from codetune.data.files import Row, read_rows
from codetune.errors import UserError
from codetune.records import AssertTest, Problem

FILE = "odex/en_test.jsonl"
PREFIX = "ODEX/"
LEFT_OUT = frozenset(
    {"numpy", "pandas", "matplotlib", "scipy", "requests", "flask", "django", "bs4", "sqlalchemy", "multidict"}
    | {"regex", "obspy", "pytz", "mock", "imp"}
)
_UNABLE = frozenset({23, 24, 340, 395} | {224})  # rows that reach for the network; a pattern whose flags stand in its middle

_CHECK = "def check(candidate)"


def load(path: Path) -> tuple[Problem, ...]:
    """The problems in file order; `task_id` is the 0-based row number in the file (the rows' own ids repeat)."""
    rows = enumerate(read_rows(path))
    problems = tuple(problem(row, number) for number, row in rows if number not in _UNABLE and not LEFT_OUT & _libraries(row))
    if not problems:
        raise UserError(f"{path}: all rows need third-party libraries; give ODEX's en_test.jsonl")
    return problems


def _libraries(row: Row) -> set[str]:
    """What the row says that it needs; one row imports `mock` without saying so."""
    unsaid = {"mock"} if "\nimport mock" in row.text("test_start") else set()
    return {*row.texts("library"), *unsaid}


def problem(row: Row, number: int) -> Problem:
    """What stands before `check` (imports, classes) is the program's, too: published runs put all in one namespace."""
    start, entry_point = row.text("test_start"), row.text("entry_point")
    before, found, _ = start.partition(_CHECK)
    if not found:
        raise row.error(f"'test_start' must end with {_CHECK!r}")
    head, line_end, body = row.text("prompt").partition("\n")
    if not line_end:
        raise row.error("'prompt' must be the line of a function's head and the start of its body")
    wish = row.text("intent").replace("\\", "\\\\").replace('"""', "'''")
    return Problem(
        task_id=f"{PREFIX}{number}",
        prompt=f'{_alone(before)}{head}\n\t"""{wish}\n\t"""\n{body}',
        reference=row.text("canonical_solution"),
        suffix=row.text("suffix", ""),
        entry_point=entry_point,
        tests=(AssertTest(f"{start}{''.join(row.texts('test'))}\ncheck({entry_point})\n"),),
        source="odex",
    )


def _alone(code: str) -> str:
    """Code with blank lines after it, where there is any."""
    return f"{code.strip()}\n\n\n" if code.strip() else ""
