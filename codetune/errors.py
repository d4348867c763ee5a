"""The two kinds of mistake: the user's (one clear line, exit code 2) and ours (a traceback)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what was given, what is valid, what to do."""


def nearest(given: str, valid: Iterable[str]) -> str:
    """The part of an error message that names what is valid, nearest name first.

    >>> nearest("humanevall", ["mbpp", "humaneval"])
    "did you mean 'humaneval'? valid: humaneval, mbpp"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names)}"
