"""Puts the definitions of an answer into a file by their names, and leaves all else of the file as it is, to the last comment.

A model that is asked to mend a file often gives back only the function that it changed, a class without the methods that it left alone,
or calls that show how the function is used. None of that may cost the file anything.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from codetune.mending.broken import into_broken
from codetune.mending.source import Definition, Source, bound, key_of, lines_of, named, newline_of, reached, span, used


def splice(program: str, answer: str, wanted: Collection[str] = (), script: bool = False) -> str | None:
    """`program` with the definitions of `answer` in place of its own; None where the answer has nothing for it.

    Taken are functions, methods, classes and constants that the program has, too, names that are `wanted` (by its tests) and that it
    lacks, and what these use: imports, helpers. A `script` is told by what it prints: there an answer that has all of its definitions
    stands for the whole of it. So does, for a program without any definition, an answer that sets all the names that it sets.
    """
    new = Source.of(answer)
    if new is None or not new.tree.body:
        return None
    old = Source.of(program)
    if old is None:
        mended = into_broken(program, new)
        return None if mended is None else _spliced(mended, answer, wanted) or mended
    defined = {key_of(one) for one in old.tree.body if isinstance(one, Definition)}
    bare = not any(isinstance(node, Definition) for node in ast.walk(old.tree)) and _bound(old) <= _bound(new)
    if bare or (script and defined <= named(new.tree.body).keys()):
        return None if _is_only_talk(new) else _with_lines_of(program, answer)
    return _spliced(program, answer, wanted)


@dataclass(frozen=True, slots=True)
class _Change:
    """Lines `start` to `stop` of the file become `lines`; equal numbers insert."""

    start: int
    stop: int
    lines: tuple[str, ...]


def _spliced(program: str, answer: str, wanted: Collection[str]) -> str | None:
    old, new = Source.of(program), Source.of(answer)
    if old is None or new is None:
        return None
    merge = _Merge(old, new)
    changes = list(merge.replaced(old.tree.body, new.tree.body, ""))
    changes += merge.lone_methods()
    have = _bound(old)
    asked = {name for name in wanted if name not in have}
    needs = set().union(*map(used, merge.matched)) - have
    changes += merge.added(needs | asked, min((change.start for change in changes), default=None))
    return _applied(program, changes) if changes or merge.matched else None


class _Merge:
    """One answer's way into one file. `matched` are its statements that the file has by name, whether they differ or not."""

    def __init__(self, old: Source, new: Source) -> None:
        self.old, self.new = old, new
        self.matched: list[ast.stmt] = []

    def replaced(self, old_body: Sequence[ast.stmt], new_body: Sequence[ast.stmt], margin: str) -> Iterator[_Change]:
        """What both have by name: the answer's text where it differs. Classes are merged member by member."""
        ours = named(old_body)
        for key, statement in named(new_body).items():
            before = ours.get(key)
            if before is None or _is_stub(statement, before):
                continue
            self.matched.append(statement)
            if ast.dump(statement) == ast.dump(before):
                continue
            if _is_open(before) and _is_open(statement):
                yield from self._class(before, statement)
            else:
                yield _Change(*span(before), tuple(self._moved(statement, margin)))

    def _class(self, before: ast.ClassDef, after: ast.ClassDef) -> Iterator[_Change]:
        margin = self._margin(self.old, before.body[0])
        if _head(before) != _head(after):
            first, body = span(before)[0], span(before.body[0])[0]
            while body > before.lineno and (not self.old.lines[body - 1].strip() or self.old.lines[body - 1].lstrip().startswith("#")):
                body -= 1
            yield _Change(first, body, self.new.lines[span(after)[0] : span(after.body[0])[0]])
        yield from self.replaced(before.body, after.body, margin)
        ours = named(before.body)
        end = span(before)[1]
        for key, statement in named(after.body).items():
            if key not in ours and not _is_stub(statement, None):
                gap = ("\n",) if isinstance(statement, Definition) else ()
                yield _Change(end, end, (*gap, *self._moved(statement, margin)))

    def lone_methods(self) -> Iterator[_Change]:
        """A function with `self` that the file knows as a method of exactly one class is that method."""
        top, given = named(self.old.tree.body), named(self.new.tree.body)
        classes = [statement for statement in self.old.tree.body if _is_open(statement) and (statement.name, "") not in given]
        for key, statement in given.items():
            homes = [(each, named(each.body)[key]) for each in classes if key in named(each.body)]
            if key in top or len(homes) != 1 or not _takes_self(statement) or _is_stub(statement, homes[0][1]):
                continue
            home, before = homes[0]
            self.matched.append(statement)
            if ast.dump(statement) != ast.dump(before):
                yield _Change(*span(before), tuple(self._moved(statement, self._margin(self.old, home.body[0]))))

    def added(self, names: set[str], before: int | None) -> Iterator[_Change]:
        """What the file lacks of the names, and what that uses in turn: imports to the imports, all else before the first change."""
        have = _bound(self.old)
        ours = {id(one) for one in self.matched}
        chosen = [one for one in reached(self.new.tree.body, names) if not bound(one) <= have and id(one) not in ours]
        taken = [one for one in chosen if not isinstance(one, ast.Import | ast.ImportFrom)]
        needed = names.union(*map(used, taken)) - have
        lines = [line for one in chosen if isinstance(one, ast.Import | ast.ImportFrom) for line in _import(one, needed)]
        if lines:
            at = self._import_place()
            yield _Change(at, at, tuple(lines))
        if taken:
            at = self.old.above(self._place(before))
            text = [line for one in taken for line in (*self.new.text(one), "\n", "\n")]
            lead = () if at == 0 or not self.old.lines[at - 1].strip() else ("\n", "\n")
            yield _Change(at, at, (*lead, *(text if at < len(self.old.lines) else text[:-2])))

    def _place(self, before: int | None) -> int:
        """Where new definitions go: before the first change's statement, else before what runs the program, else at the end."""
        for statement in self.old.tree.body:
            start, stop = span(statement)
            if before is not None and before <= stop and (isinstance(statement, Definition) or key_of(statement)):
                if start <= before:
                    return start
            elif before is None and isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
                return start
        return len(self.old.lines) if before is None else before

    def _import_place(self) -> int:
        """After the imports at the file's head, else after its docstring, else above its first statement."""
        at = None
        for number, statement in enumerate(self.old.tree.body):
            docstring = number == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if isinstance(statement, ast.Import | ast.ImportFrom) or docstring:
                at = span(statement)[1]
            elif isinstance(statement, Definition):
                break
        return self.old.above(span(self.old.tree.body[0])[0]) if at is None else at

    def _margin(self, source: Source, statement: ast.stmt) -> str:
        line = source.lines[span(statement)[0]]
        return line[: len(line) - len(line.lstrip())]

    def _moved(self, statement: ast.stmt, margin: str) -> list[str]:
        """Its lines at another margin; lines within its strings stay, since they are the strings' own."""
        lines, before = self.new.text(statement), self._margin(self.new, statement)
        if before == margin:
            return lines
        first = span(statement)[0]
        texts = (node for node in ast.walk(statement) if isinstance(node, ast.JoinedStr) or _is_text(node))
        inside = {line - first - 1 for node in texts for line in range(node.lineno + 1, (node.end_lineno or 0) + 1)}  # type: ignore[attr-defined]
        return [
            margin + line.removeprefix(before) if number not in inside and line.strip() and line.startswith(before) else line
            for number, line in enumerate(lines)
        ]


def _applied(program: str, changes: Sequence[_Change]) -> str:
    """The file with all changes; each has the file's line ends, and a file without a last line end keeps without."""
    end, lines = newline_of(program), lines_of(program)
    size = len(lines)
    ends = [line for line in lines[-1:] if line.endswith(("\n", "\r"))]
    numbered = sorted(enumerate(changes), key=lambda pair: (pair[1].start, pair[1].stop, pair[0]), reverse=True)
    for _, change in numbered:
        fresh = [line.rstrip("\r\n") + end for line in change.lines]
        if change.start == change.stop == size and lines and not ends:
            lines[-1] += end
        lines[change.start : change.stop] = fresh
    if not ends and lines:
        lines[-1] = lines[-1].rstrip("\r\n")
    return "".join(lines)


def _bound(source: Source) -> set[str]:
    return set().union(*map(bound, source.tree.body))


def _with_lines_of(program: str, answer: str) -> str:
    """The answer as the whole file."""
    end = newline_of(program)
    return "".join(line.rstrip("\r\n") + end for line in lines_of(answer.strip("\r\n")))


def _is_only_talk(new: Source) -> bool:
    """A word or two that happens to be Python is no program."""
    return all(isinstance(one, ast.Expr) and isinstance(one.value, ast.Name | ast.Constant) for one in new.tree.body)


def _is_open(statement: ast.stmt) -> TypeGuard[ast.ClassDef]:
    """Whether it is a class whose body stands on lines of its own."""
    return isinstance(statement, ast.ClassDef) and span(statement.body[0])[0] >= statement.lineno


def _head(statement: ast.ClassDef) -> str:
    return "".join(map(ast.dump, [*statement.bases, *statement.keywords, *statement.decorator_list]))


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _is_stub(statement: ast.stmt, before: ast.stmt | None) -> bool:
    """Whether a body was left out with `...` (or `pass` where the file has more), and so says nothing."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(statement))
    if not isinstance(statement, Definition) or (isinstance(before, Definition) and ast.dump(statement) == ast.dump(before)):
        return False
    body = [one for one in statement.body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))]
    return not body or (before is not None and all(isinstance(one, ast.Pass) for one in body))


def _takes_self(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    arguments = [*statement.args.posonlyargs, *statement.args.args]
    static = any(isinstance(one, ast.Name) and one.id in ("staticmethod", "classmethod") for one in statement.decorator_list)
    return static or bool(arguments and arguments[0].arg in ("self", "cls"))


def _import(statement: ast.Import | ast.ImportFrom, needed: set[str]) -> list[str]:
    """The import, cut to the names that are needed."""
    kept = copy.copy(statement)
    kept.names = [one for one in statement.names if (one.asname or one.name.partition(".")[0]) in needed]
    return [ast.unparse(kept) + "\n"] if kept.names else []
