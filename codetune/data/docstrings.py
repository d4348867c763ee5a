"""Functions without their docstrings: the one place where code loses what it is then asked for by."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Sequence

from codetune.prompts.extract import parse


def without_docstring(code: str) -> str:
    """The function without its docstring; as it is where it does not parse (Python 2).

    >>> without_docstring('def f(x):\\n    "Say x."\\n    return x\\n')
    'def f(x):\\n    return x\\n'
    """
    tree = parse(code)
    function = tree.body[0] if tree and tree.body else None
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or ast.get_docstring(function) is None:
        return code
    first, *others = function.body
    if not others or others[0].lineno == first.end_lineno or first.lineno == function.lineno:  # nothing else, or not on its own lines
        bare = copy.copy(function)  # the tree is not ours to change
        bare.body = others or [ast.Pass()]
        return ast.unparse(bare) + "\n"
    return "".join(lines_without(first, re.split(r"(?<=\n)", code)))  # as the parser counts: splitlines() also cuts at form feeds


def lines_without(statement: ast.stmt, lines: Sequence[str], start: int = 0, end: int | None = None) -> list[str]:
    """The lines from `start` (from 0) up to `end`, less those of the statement: `lines` are the whole text that was parsed.

    >>> lines_without(ast.parse("a\\nb\\nc").body[1], ["a", "b", "c"])
    ['a', 'c']
    """
    return [*lines[start : statement.lineno - 1], *lines[statement.end_lineno or statement.lineno : end]]
