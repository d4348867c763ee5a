"""A text of Python by its lines and top-level statements: what is named where, and who uses whom."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from codetune.prompts.extract import parse

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Key = tuple[str, str]  # a name, and which of a property's functions it is
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as the parser counts them: not at form feeds, unlike splitlines


def lines_of(text: str) -> list[str]:
    """The lines with their ends."""
    return _LINES.findall(text)


def newline_of(text: str) -> str:
    """The line end that the text mostly has."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


@dataclass(frozen=True, slots=True)
class Source:
    """A text that is Python."""

    lines: tuple[str, ...]
    tree: ast.Module

    @classmethod
    def of(cls, text: str) -> Source | None:
        """None where the text does not parse."""
        tree = parse(text)
        return None if tree is None else cls(tuple(lines_of(text)), tree)

    def text(self, statement: ast.stmt) -> list[str]:
        """Its lines, decorators included."""
        start, stop = span(statement)
        return list(self.lines[start:stop])

    def above(self, line: int) -> int:
        """Where the comment that belongs to what stands at `line` begins; what the first lines say to the system is no such comment."""
        while line and self.lines[line - 1].startswith("#") and not (line <= 2 and re.match(r"#!|#.*coding[:=]", self.lines[line - 1])):
            line -= 1
        return line


def span(statement: ast.stmt) -> tuple[int, int]:
    """First line, and the one after the last, from 0; decorators included."""
    first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", ()))])
    return first - 1, statement.end_lineno or statement.lineno


def named(body: Sequence[ast.stmt]) -> dict[Key, ast.stmt]:
    """Functions, classes and plain assignments by name; the last of each, which counts. What shares its line is left out."""
    spans = [span(statement) for statement in body]
    found: dict[Key, ast.stmt] = {}
    for number, statement in enumerate(body):
        start, stop = spans[number]
        shares = (number and spans[number - 1][1] > start) or (number + 1 < len(body) and spans[number + 1][0] < stop)
        key = key_of(statement)
        wraps = key in found and isinstance(found[key], Definition) and not isinstance(statement, Definition)  # `f = cache(f)`
        if key and not shares and not wraps:
            found[key] = statement
    return found


def key_of(statement: ast.stmt) -> Key | None:
    """What a statement names, if it is one name."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            parts = [one.attr for one in statement.decorator_list if isinstance(one, ast.Attribute)]
            return statement.name, next((part for part in parts if part in ("setter", "deleter", "getter")), "")
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name, ""
    return None


def bound(statement: ast.stmt) -> set[str]:
    """All names that a statement binds where it stands."""
    names: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Definition):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        waiting.extend(ast.iter_child_nodes(node))
    return names


def used(node: ast.AST) -> set[str]:
    """All names that are read anywhere in it, Python's own apart."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
    return {name for name in names if not hasattr(builtins, name)}


def reached(body: Iterable[ast.stmt], names: Iterable[str]) -> list[ast.stmt]:
    """The statements of a module that the names stand for, and all that those use, in the module's order."""
    statements = list(body)
    binds = [bound(statement) for statement in statements]
    wanted, waiting, chosen = set[str](), set(names), set[int]()
    while waiting:
        wanted |= waiting
        fresh = {number for number, each in enumerate(binds) if each & waiting} - chosen
        chosen |= fresh
        waiting = set().union(*(used(statements[number]) for number in fresh)) - wanted
    return [statements[number] for number in sorted(chosen)]
