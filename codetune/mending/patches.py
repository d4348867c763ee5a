"""The change of a file as a unified diff that `git apply` and `patch -p1` take."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

_NO_END = "\\ No newline at end of file"


def patch(before: str, after: str, name: str = "program.py") -> str:
    """The diff from one text to the other, "" where they are the same. Lines end at line feeds alone, as git has it."""
    date = "\t" if " " in name else ""  # where a name has spaces, a tab says where it ends
    old, new = before.split("\n"), after.split("\n")
    lines = difflib.unified_diff(_marked(old), _marked(new), f"a/{name}{date}", f"b/{name}{date}", lineterm="\n")
    return "".join(_settled(lines))


def _marked(lines: list[str]) -> list[str]:
    return [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _settled(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n{_NO_END}\n"
