"""Problems of the user's own as folders: `problem.md` (the wish), `test_*.py`, and `solution.py` (the reference) if there is one.

A folder is one problem, or holds such folders. The tests are what `suites` reads of Python, on what they import from `solution`. They run
beside the checker, not beside the program: such imports are taken out, and the names are the program's.
"""

from __future__ import annotations

from pathlib import Path

from codetune.data.suites import Suite, read_suite
from codetune.errors import UserError
from codetune.records import AssertTest, Problem

WISH, TESTS, SOLUTION = "problem.md", "test_*.py", "solution"


def load(path: Path) -> tuple[Problem, ...]:
    """The folder's problem, or those of the folders in it by name, which is their `task_id`. Raises UserError naming file and line."""
    folders = [path] if (path / WISH).is_file() else sorted(folder for folder in path.iterdir() if (folder / WISH).is_file())
    if not folders:
        raise UserError(f"{path} holds no {WISH}, nor do the folders in it; give a folder with {WISH} and {TESTS}, or with such folders")
    return tuple(_problem(folder) for folder in folders)


def _problem(folder: Path) -> Problem:
    wish, files = read_utf8(folder / WISH).strip(), sorted(folder.glob(TESTS))
    if not wish:
        raise UserError(f"{folder / WISH}: empty; write what is wanted")
    if not files:
        raise UserError(f"{folder}: no {TESTS} beside {WISH}; a problem needs tests")
    suites = [_suite(file) for file in files]
    solution = folder / f"{SOLUTION}.py"
    return Problem(
        task_id=folder.resolve().name,
        instruction=wish,
        reference=read_utf8(solution) if solution.is_file() else "",
        entry_point=next((name for suite in suites for name in suite.names), ""),
        tests=tuple(AssertTest(f"{suite.setup}\n{test.code}") if suite.setup else test for suite in suites for test in suite.tests),
        source=folder.resolve().parent.name,
    )


def _suite(path: Path) -> Suite:
    return read_suite(read_utf8(path), str(path), (SOLUTION,))


def read_utf8(path: Path) -> str:
    """A file of text. Raises UserError for what is no UTF-8, and what cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
