"""MBPP (Austin et al. 2021): 974 wishes with three asserts each; ids 11-510 are the test split, 601-974 the training split."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path

from codetune.data.files import Row, read_rows
from codetune.prompts.extract import parse
from codetune.records import AssertTest, Problem

FILE = "mbpp/mbpp.jsonl"
SANITIZED_FILE = "mbpp/sanitized-mbpp.json"
PREFIX = "MBPP/"
SPLITS = {"examples": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}

# The worked examples of the published prompts (austin-3shot).
AUSTIN_EXAMPLES = tuple(f"{PREFIX}{number}" for number in (2, 3, 4))


def load(path: Path) -> tuple[Problem, ...]:
    """All 974 problems, or the 427 of the sanitized file, in file order."""
    return tuple(problem(row) for row in read_rows(path))


def load_split(path: Path, split: str) -> tuple[Problem, ...]:
    """The problems of one of the published splits, a key of `SPLITS`."""
    wanted = {f"{PREFIX}{number}" for number in SPLITS[split]}
    return tuple(problem for problem in load(path) if problem.task_id in wanted)


def load_test(path: Path) -> tuple[Problem, ...]:
    """The 500 problems that published results are over."""
    return load_split(path, "test")


def problem(row: Row) -> Problem:
    """`input` holds the asserts: without them nobody can know the function's name (the published prompts show them too)."""
    number = row.values.get("task_id")
    if isinstance(number, bool) or not isinstance(number, int):
        raise row.error(f"'task_id' must be a number, got {number!r}")
    reference = _unix(row.text("code"))
    tests = [_unix(test) for test in row.texts("test_list")]
    setup = [_unix(row.text("test_setup_code", "")), *row.texts("test_imports")]
    return Problem(
        task_id=f"{PREFIX}{number}",
        instruction=row.text("text" if "text" in row.values else "prompt"),
        input="\n".join(tests),
        reference=reference,
        entry_point=entry_point(tests, reference),
        tests=tuple(AssertTest(test) for test in tests),
        setup="\n".join(part for part in setup if part),
        source="mbpp",
    )


def _unix(text: str) -> str:
    """972 of the 974 references come with CRLF line ends, 4 of them with a lone CR at the end."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def entry_point(tests: Sequence[str], reference: str) -> str:
    """The first name that the tests call and the reference defines; "" where there is none.

    >>> entry_point(["assert set(similar((1, 2), (2, 3))) == {2}"], "def similar(a, b): return set(a) & set(b)")
    'similar'
    """
    tree = parse(reference)
    statements = tree.body if tree else []
    defined = {node.name for node in statements if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    for test in filter(None, map(parse, tests)):
        for node in ast.walk(test):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in defined:
                return node.func.id
    return ""
