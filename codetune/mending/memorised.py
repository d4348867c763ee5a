"""Whether a mended program compares with the very values of its tests, as one does that knows the answers by heart."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from codetune.prompts.extract import parse
from codetune.records import AgreementTest, AssertTest, CallTest, Problem

_ORDINARY = {"0", "1", "-1", "2", "0.0", "1.0", "''", "' '", "None", "True", "False", "()", "[]", "{}"}


def memorised(before: str, after: str, problem: Problem) -> list[str]:
    """Values of the tests' calls that `after` compares with (or has as keys) and `before` does not, as Python writes them.

    Small numbers and empty values are everybody's. That a value is found proves nothing: a leap year's rule names 400, too.
    """
    fresh = _compared(parse(after)) - _compared(parse(before))
    return sorted(fresh & set(_values(problem)) - _ORDINARY)


def _values(problem: Problem) -> Iterator[str]:
    for test in problem.tests:
        if isinstance(test, CallTest | AgreementTest):
            yield from map(repr, test.input)
        elif isinstance(test, AssertTest):
            calls = (node for node in ast.walk(parse(test.code) or ast.Module([], [])) if isinstance(node, ast.Call))
            yield from _literals(argument for call in calls for argument in call.args)


def _compared(tree: ast.Module | None) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            members = (item for side in sides if isinstance(side, ast.Tuple | ast.List | ast.Set) for item in side.elts)
            found |= set(_literals([*sides, *members]))
        elif isinstance(node, ast.Dict):
            found |= set(_literals(key for key in node.keys if key))
        elif isinstance(node, ast.MatchValue):
            found |= set(_literals([node.value]))
    return found


def _literals(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        try:
            yield repr(ast.literal_eval(node))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
