"""The tests that a user gives for a program of their own: as text typed somewhere, or as a file or folder.

A text is Python (what `suites` reads: assert lines, functions `test_*`, classes), or JSON: a list, or one a line, of assert lines,
`{"input": [args], "output": value}`, `{"stdin": str, "stdout": str}`, or of rows with `tests` as `own` has them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from codetune.data import folders, own
from codetune.data.files import Row, items_of_text
from codetune.data.suites import read_suite
from codetune.errors import UserError
from codetune.prompts.extract import defines, parse
from codetune.records import AssertTest, CallTest, Problem, Test

_FORMS = "a Python file of asserts or functions test_*, a JSON or JSONL file of tests, or a folder of test_*.py"


def tests_of(text: str, entry_point: str = "") -> tuple[str, tuple[Test, ...]]:  # noqa: PT028 - no test itself
    """Set-up and tests of a text. Raises UserError where it holds no test, or calls without an `entry_point` to call.

    >>> tests_of("from solution import add\\n\\nassert add(1, 2) == 3")
    ('', (AssertTest(code='assert add(1, 2) == 3'),))
    """
    found = read_text(text, "the tests", Problem("tests", entry_point=entry_point))
    return found.setup, found.tests


def problem_of(path: Path, program: Path, code: str, entry_point: str = "") -> Problem:
    """What a file or folder of tests asks of the program whose text is `code`: a problem whose reference is not known.

    In test files the program is imported by its file's name. Raises UserError for what cannot be read and where nothing says which
    function or which of several problems is meant.
    """
    asked = Problem(program.stem, entry_point=entry_point, source=str(path))
    if path.is_dir():
        return _of_folder(path, program, asked, code)
    if not path.is_file():
        raise UserError(f"{path} not found; give {_FORMS}")
    return read_text(folders.read_utf8(path), str(path), asked, (program.stem, folders.SOLUTION), code)


def read_text(text: str, where: str, asked: Problem, modules: tuple[str, ...] | None = None, code: str = "") -> Problem:
    """`asked` with the text's tests, set-up and, where it has one, wish. `modules` as in `read_suite`."""
    if not text.strip():
        raise UserError(f"{where}: there is nothing in it; give {_FORMS}")
    if text.lstrip()[:1] not in ("[", "{"):
        suite = read_suite(text, where, modules)
        return replace(asked, tests=suite.tests, setup=suite.setup, entry_point=asked.entry_point or _only(suite.names, code))
    items = items_of_text(where, text)
    rows = [Row(place, item if isinstance(item, dict) else {}) for place, item in items]
    if rows and all("tests" in row.values for row in rows):
        found = _of_row(_chosen(rows, where, asked, code), asked)
    else:
        found = replace(asked, tests=tuple(own.test_of(row, item) for row, (_, item) in zip(rows, items, strict=True)))
    if not found.tests:
        raise UserError(f"{where}: there is no test in it; give {own.TEST_FORMS}")
    return _with_entry_point(found, where, code)


def _of_row(row: Row, asked: Problem) -> Problem:
    return replace(
        asked, instruction=row.text("instruction", ""), tests=own.tests_of(row), setup=row.text("setup", ""),
        entry_point=asked.entry_point or row.text("entry_point", ""), timeout_s=own.timeout_s(row),
    )  # fmt: skip


def _chosen(rows: list[Row], where: str, asked: Problem, code: str) -> Row:
    """The row for the program: the only one, that of the entry point, or the only one whose entry point the program defines."""
    names = [row.text("entry_point", "") for row in rows]
    fits = [name == asked.entry_point if asked.entry_point else defines(code, name) for name in names]
    wanted = [row for row, is_it in zip(rows, fits, strict=True) if is_it]
    if len(rows) == 1 or len(wanted) == 1:
        return wanted[0] if len(wanted) == 1 else rows[0]
    what = f"for {asked.entry_point!r}" if asked.entry_point else "for a function of the program"
    raise UserError(f"{where}: {len(wanted)} of its {len(rows)} problems are {what}; say which with --entry-point NAME")


def _with_entry_point(problem: Problem, where: str, code: str) -> Problem:
    """Calls need to know whom they call: the only function of the program, where nothing says so."""
    if problem.entry_point or not any(isinstance(test, CallTest) for test in problem.tests):
        return problem
    tree = parse(code)
    names = [each.name for each in (tree.body if tree else []) if hasattr(each, "args") and not each.name.startswith("_")]  # type: ignore[attr-defined]
    if len(names) != 1:
        there = f": one of {', '.join(names)}" if names else ""
        raise UserError(f"{where}: tests with 'input' and 'output' call a function; give its name as the entry point{there}")
    return replace(problem, entry_point=names[0])


def _of_folder(path: Path, program: Path, asked: Problem, code: str) -> Problem:
    """All test files of a folder together, with its wish where it has one; a folder of several problems is too many."""
    files = sorted(path.glob(folders.TESTS))
    if not files:
        raise UserError(f"{path} holds no {folders.TESTS}; give {_FORMS}")
    wish = path / folders.WISH
    suites = [read_suite(folders.read_utf8(file), str(file), (program.stem, folders.SOLUTION)) for file in files]
    names = tuple(name for suite in suites for name in suite.names)
    shared = suites[0].setup if len(suites) == 1 else ""  # what several files set up may have the same names
    tests = [test if len(suites) == 1 else AssertTest(f"{suite.setup}\n{test.code}".strip()) for suite in suites for test in suite.tests]
    return replace(
        asked, instruction=folders.read_utf8(wish).strip() if wish.is_file() else "", tests=tuple(tests), setup=shared,
        entry_point=asked.entry_point or _only(names, code),
    )  # fmt: skip


def _only(names: tuple[str, ...], code: str) -> str:
    """The one name that the tests take from the program, where it is one."""
    found = {name for name in names if not code or defines(code, name)}
    return found.pop() if len(found) == 1 else ""
