"""The documented functions and methods of a Python file, cut out so that each stands at the margin and means what it meant."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

from codetune.data.docstrings import without_docstring
from codetune.prompts.extract import parse

_Definition = ast.FunctionDef | ast.AsyncFunctionDef
# The fields that hold statements, last first, of every kind of node that has such.
_BLOCKS: dict[type[ast.AST], tuple[str, ...]] = {
    kind: tuple(name for name in ("finalbody", "orelse", "handlers", "cases", "body") if name in kind._fields)
    for kind in (
        ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith,
        ast.Try, ast.TryStar, ast.ExceptHandler, ast.Match, ast.match_case,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a file. Where `reason` says why it gives no pair, it has neither instruction nor text."""

    qualified_name: str
    name: str
    is_method: bool
    first_line: int  # its decorators included, from 1
    last_line: int
    instruction: str = ""  # the docstring's first paragraph
    text: str = ""  # without the docstring
    reason: str = ""


def functions(text: str) -> list[Function] | None:
    """All functions of a file in the order of their lines; None where it is not Python 3."""
    tree = parse(text)
    if tree is None:
        return None
    lines = text.split("\n")  # as the parser counts: splitlines() would also cut at form feeds
    return [_function(node, path, lines) for node, path in _definitions(tree)]


def _at_margin(lines: list[str], node: _Definition) -> str:
    """A documented function's lines without their indentation. Lines within a string stay as they are: they are its value."""
    first, last = _first_line(node), node.end_lineno or 0
    indent = lines[first - 1][: -len(lines[first - 1].lstrip(" \t\f"))]
    within = _string_lines(lines, node) if indent else set()
    return "".join(
        (line if number in within else line[len(indent) :] if line.startswith(indent) else line.lstrip(" \t\f")) + "\n"
        for number, line in enumerate(lines[first - 1 : last], first)
    )


def _string_lines(lines: list[str], node: _Definition) -> set[int]:
    """The lines that begin within a string, the docstring's left aside."""
    docstring, *others = node.body
    ends = docstring.end_lineno or 0
    shares_its_line = bool(others) and others[0].lineno == ends
    code = [*lines[_first_line(node) - 1 : docstring.lineno - 1], *lines[ends : node.end_lineno]]
    if not shares_its_line and not any(_may_open_string(line) for line in code):
        return set()  # most functions: no need to look at every expression
    found = set[int]()
    for each in ast.walk(node):
        if isinstance(each, ast.Constant | ast.JoinedStr) and (each.end_lineno or 0) > each.lineno:
            spanned = range(each.lineno, (each.end_lineno or 0) + 1)
            if any(_may_open_string(lines[number - 1]) for number in spanned):  # else it is strings side by side
                found.update(spanned[1:])
    return found


def _may_open_string(line: str) -> bool:
    return '"""' in line or "'''" in line or line.endswith("\\")


def _definitions(tree: ast.Module) -> Iterator[tuple[_Definition, tuple[ast.AST, ...]]]:
    """Every function with the classes and functions around it, outermost first; expressions hold no definitions."""
    waiting: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(tree, ())]
    while waiting:
        node, around = waiting.pop()
        if isinstance(node, _Definition):
            yield node, around
        inner = (*around, node) if isinstance(node, _Definition | ast.ClassDef) else around
        for block in _BLOCKS[type(node)]:
            waiting += [(each, inner) for each in reversed(getattr(node, block)) if type(each) in _BLOCKS]


def _function(node: _Definition, around: tuple[ast.AST, ...], lines: list[str]) -> Function:
    qualified_name = ".".join([*(each.name for each in around if isinstance(each, _Definition | ast.ClassDef)), node.name])
    is_method = bool(around) and isinstance(around[-1], ast.ClassDef)
    first, last = _first_line(node), node.end_lineno or 0
    docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
    reason = _reason(node, around, docstring)
    if reason:
        return Function(qualified_name, node.name, is_method, first, last, reason=reason)
    instruction = re.split(r"\n\s*\n", docstring)[0]
    try:
        text = without_docstring(_at_margin(lines, node))
    except RecursionError:
        return Function(qualified_name, node.name, is_method, first, last, reason="nested too deep")
    return Function(qualified_name, node.name, is_method, first, last, instruction, text)


def _reason(node: _Definition, around: tuple[ast.AST, ...], docstring: str) -> str:
    if any(isinstance(each, _Definition) for each in around):
        return "function in a function"
    if not docstring:
        return "function without a docstring"
    if any(isinstance(each, ast.Name | ast.Attribute) and _last_name(each) == "overload" for each in node.decorator_list):
        return "overload"
    if all(_does_nothing(statement) for statement in node.body[1:]):
        return "function that does nothing"
    try:
        docstring.encode()
    except UnicodeEncodeError:
        return "docstring is not text"
    return "docstring is not text" if "\x00" in docstring else ""


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))):
            return True
    return False


def _last_name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _first_line(node: _Definition) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])
