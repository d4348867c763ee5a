"""The same splice for a file that does not parse: its top-level blocks are found by the lines that begin them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from codetune.mending.source import Definition, Source, bound, lines_of, newline_of, span

_OPENS = re.compile(r"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)")
_BEGINS = re.compile(r"@|(?:async[ \t]+)?(?:def|class)\b|import\b|from\b|if[ \t]+__name__|[A-Z_][A-Z0-9_]*[ \t]*[:=]")
_SETS = re.compile(r"(\w+)[ \t]*(?::[^=\n]+)?=(?!=)")
_METHOD = re.compile(r"^[ \t]+(?:async[ \t]+)?def[ \t]+(\w+)", re.MULTILINE)


def into_broken(program: str, new: Source) -> str | None:
    """The broken program with the answer's definitions in place of the blocks of those names, if that compiles; else the answer, if
    it has all names of the program; else None."""
    lines = lines_of(program)
    given = {one.name: one for one in new.tree.body if isinstance(one, Definition)}
    for narrow in (True, False):
        mended = _put(lines, new, given, narrow, newline_of(program))
        if mended != program and _compiles(mended):
            return mended
    names = {match[1] for line in lines if (match := _OPENS.match(line) or _SETS.match(line))}
    whole = "".join(new.lines)
    return whole if names <= set().union(*map(bound, new.tree.body)) and _keeps_methods(program, whole) and _compiles(whole) else None


def _put(lines: list[str], new: Source, given: dict[str, Definition], narrow: bool, end: str) -> str:
    out: list[str] = []
    at = 0
    for start, stop, name in _blocks(lines, narrow):
        if name not in given:
            continue
        text = new.lines[slice(*span(given[name]))]
        if not _keeps_methods("".join(lines[start:stop]), "".join(text)):
            continue
        out += [*lines[at:start], *(line.rstrip("\r\n") + end for line in text)]
        at = stop
    return "".join([*out, *lines[at:]])


def _blocks(lines: list[str], narrow: bool) -> Iterator[tuple[int, int, str]]:
    """Start, stop and name of each function and class at the margin. A narrow block ends where anything else stands at the margin, a
    wide one where something begins that is told by its first word: a body may have slipped to the margin."""
    number = 0
    while number < len(lines):
        start = number
        while number < len(lines) and lines[number].startswith("@"):
            number += 1
        match = _OPENS.match(lines[number]) if number < len(lines) else None
        number += 1
        if match is None:
            continue
        stop = number
        while number < len(lines) and not (_is_margin(lines[number]) and (narrow or _BEGINS.match(lines[number]))):
            number += 1
            if lines[number - 1].strip() and not lines[number - 1].startswith("#"):
                stop = number
        yield start, stop, match[1]


def _is_margin(line: str) -> bool:
    return bool(line.strip()) and line[0] not in " \t#)]}"


def _keeps_methods(before: str, after: str) -> bool:
    return set(_METHOD.findall(before)) <= set(_METHOD.findall(after))


def _compiles(code: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(code, "<program>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
