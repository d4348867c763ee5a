"""What a process works out once for all that ask for it, where it was told that what it reads stays the same: a study's cells.

Nothing is kept unless `keep_results` was called: a program that lives on sees files change.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_KEPT: dict[tuple[str, ...], Any] = {}
_KEEPING: list[bool] = []


def keep_results() -> None:
    """From now on every function under `once` gives what it gave before, to this process and to those that it forks."""
    _KEEPING[:] = [True]


def forget_results() -> None:
    """As before `keep_results`."""
    _KEEPING.clear()
    _KEPT.clear()


def once(worth: Callable[[Any], bool] = lambda result: True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments say in their `repr` all that determines its result, besides the data folder, and whose result nobody
    changes. `worth` is asked whether a result is small enough to stay in memory."""

    def keeping(make: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(make)
        def asked(*given: P.args, **named: P.kwargs) -> R:
            if not _KEEPING:
                return make(*given, **named)
            key = make.__module__, make.__qualname__, os.environ.get("CODETUNE_DATA", ""), repr(given), repr(sorted(named.items()))
            if key in _KEPT:
                return _KEPT[key]  # type: ignore[no-any-return]
            result = make(*given, **named)
            if worth(result):
                _KEPT[key] = result
            return result

        return asked

    return keeping
