"""An answer cut into prose and code while it comes: fenced blocks, and code that stands there bare, as small code models write it.

A line goes to its block when it is whole, and stays there: what was printed is never taken back.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codetune.prompts.extract import parse

PYTHON = ("", "python", "python3", "py", "py3", "pycon")
_FENCE = re.compile(r"^(?P<margin>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)(?P<rest>[^\n`]*)$")
_GOES_ON = re.compile(r"^(?:[)\]}#@]|(?:elif|else|except|finally)\b|[rbfu]?(?:\"\"\"|'''))")
_DEFINES = re.compile(r"^(?:async def|def|class|import|from|@)(?=[ \w])")
_DOCSTRING = re.compile(r"^[rbfu]?(?:\"\"\"|''')")
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Prose:
    """A whole paragraph, list or heading, as Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A block of code begins, the answer's `number`th from 1; its language is "" where none is named."""

    number: int
    language: str


@dataclass(frozen=True, slots=True)
class Line:
    """A whole line of the open block of code, without its newline."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The open block of code has ended."""


Event = Prose | Opened | Line | Closed


@dataclass(slots=True)
class Block:
    """A block of code of an answer."""

    language: str
    code: str = ""

    @property
    def is_python(self) -> bool:
        return self.language.lower() in PYTHON


def blocks_of(answer: str) -> list[Block]:
    """The answer's blocks of code, numbered as they are shown."""
    splitter, blocks = Splitter(), list[Block]()
    for event in (*splitter.feed(answer), *splitter.end()):
        match event:
            case Opened(_, language):
                blocks.append(Block(language))
            case Line(text):
                blocks[-1].code += text + "\n"
    return blocks


class Splitter:
    """Takes text piece by piece and gives what became whole. `partial` is the line that is not yet, `prose` the open paragraph."""

    def __init__(self) -> None:
        self.partial = ""
        self.prose: list[str] = []
        self.code: list[str] | None = None  # the lines of the open block
        self._fence: re.Match[str] | None = None  # that opened it; None for bare code
        self._blank = 0  # blank lines of bare code that are not given yet: at its end they are none of it
        self._count = 0

    def feed(self, text: str) -> list[Event]:
        *lines, self.partial = (self.partial + text).split("\n")
        return [event for line in lines for event in self._line(line.removesuffix("\r"))]

    def end(self) -> list[Event]:
        """What is left when the answer has ended."""
        last, self.partial = self.partial, ""
        events = list(self._line(last)) if last.strip() else []
        return [*events, *self._flush(), *self._close()]

    def _line(self, line: str) -> Iterator[Event]:
        if self.code is None:
            yield from self._line_of_prose(line)
        elif self._fence is not None:
            yield from self._line_of_fenced(line, self._fence, self.code)
        else:
            yield from self._line_of_bare(line, self.code)

    def _line_of_prose(self, line: str) -> Iterator[Event]:
        fence = _FENCE.match(line)
        if fence:
            yield from self._flush()
            yield from self._open(fence["language"], fence)
        elif not line.strip():
            yield from self._flush()
        elif _DEFINES.match(line) and starts_code(line) and not all(each.startswith("#") for each in self.prose):
            yield from self._flush()  # "Here it is:" with no blank line after it
            yield from self._open("", None)
            yield from self._give([line])
        elif all(each.startswith("#") for each in self.prose) and (starts_code(line) or _DOCSTRING.match(line)):
            comments, self.prose = self.prose, []  # what looked like headings
            yield from self._open("", None)
            yield from self._give([*comments, line])
        else:
            self.prose.append(line)

    def _line_of_fenced(self, line: str, fence: re.Match[str], code: list[str]) -> Iterator[Event]:
        found = _FENCE.match(line)
        closes = found and found["mark"].startswith(fence["mark"]) and not found["language"] and not found["rest"].strip()
        if closes and not (fence["language"].lower() in PYTHON and _in_a_string("\n".join(code))):
            yield from self._close()
        else:
            margin = len(fence["margin"])
            yield from self._give([line[margin:] if not line[:margin].strip() else line])

    def _line_of_bare(self, line: str, code: list[str]) -> Iterator[Event]:
        if not line.strip():
            self._blank += 1
        elif not _FENCE.match(line) and (
            line[0] in " \t" or _GOES_ON.match(line) or starts_code(line) or parse("\n".join(code)) is None
        ):
            blank, self._blank = [""] * self._blank, 0
            yield from self._give([*blank, line])
        else:
            yield from self._close()
            yield from self._line_of_prose(line)

    def _open(self, language: str, fence: re.Match[str] | None) -> Iterator[Event]:
        self._count += 1
        self.code, self._fence, self._blank = [], fence, 0
        yield Opened(self._count, language)

    def _give(self, lines: Iterable[str]) -> Iterator[Event]:
        for line in lines:
            if self.code is not None:
                self.code.append(line)
            yield Line(line)

    def _flush(self) -> Iterator[Event]:
        if self.prose:
            text, self.prose = "\n".join(self.prose), []
            yield Prose(text)

    def _close(self) -> Iterator[Event]:
        if self.code is not None:
            self.code = None
            yield Closed()


def starts_code(line: str) -> bool:
    """Whether a line at the margin begins a Python statement rather than a sentence.

    >>> [starts_code(line) for line in ("import os", "x = [", "print(x)", "def f(a,", "Sure, here it is:", "Answer: x", "text")]
    [True, True, True, True, False, False, False]
    """
    if line[:1].isspace():
        return False
    if re.match(r"@\w[\w.]*(?:\(.*)?$", line):
        return True
    closed = line + _closers(line)
    for candidate in (closed, f"{closed}\n    pass", f"{closed}:\n    pass", f"{closed}\n    pass\nfinally:\n    pass"):
        tree = parse(candidate)
        if tree is not None:
            return bool(tree.body) and _is_a_statement(tree.body[0], line)
    return False


def _closers(line: str) -> str:
    """What closes the brackets that the line leaves open; strings are not looked into."""
    waiting = ""
    for character in line:
        if character in _CLOSERS:
            waiting = _CLOSERS[character] + waiting
        elif waiting.startswith(character):
            waiting = waiting[1:]
    return waiting


def _is_a_statement(statement: ast.stmt, line: str) -> bool:
    """Not so a single word, and `Note: this`, which is Python as well."""
    match statement:
        case ast.Expr(value=ast.Call() | ast.Subscript()):
            return re.match(r"^[\w.]+[(\[]", line) is not None
        case ast.Expr(value=ast.Await() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp() | ast.Yield()):
            return True
        case ast.Expr() | ast.AnnAssign(value=None):
            return False
    return True


def _in_a_string(code: str) -> bool:
    """Whether the code ends within a triple-quoted string: a fence there does not end the block."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return "unterminated triple-quoted" in str(error.msg)
    except (ValueError, RecursionError, MemoryError):
        return False
    return False
