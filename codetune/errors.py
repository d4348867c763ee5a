"""The two kinds of mistake: the user's (one clear line, exit code 2) and ours (a traceback)."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable
from types import FrameType


class UserError(Exception):
    """A mistake the user can mend. The message is one line: what was given, what is valid, what to do."""


class Terminated(BaseException):
    """SIGTERM came, as to a machine that is about to be taken away: like Ctrl-C no error, and what is under way ends in order."""


TERMINATED = 128 + signal.SIGTERM  # the exit code


def terminate_in_order() -> None:
    """From now on SIGTERM raises Terminated in the main thread, so that half-written files are removed and a line says what is kept."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)


def nearest(given: str, valid: Iterable[str]) -> str:
    """The part of an error message that names what is valid, nearest name first.

    >>> nearest("humanevall", ["mbpp", "humaneval"])
    "did you mean 'humaneval'? valid: humaneval, mbpp"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names)}"
