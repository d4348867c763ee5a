"""Ctrl-C and SIGTERM wait until a step is done, so that what is saved is never half of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from codetune.errors import Terminated

_ENDS: dict[int, type[BaseException]] = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], type[BaseException] | None]]:
    """Gives a function that says how the run is to end, None while nothing has come. A second signal ends at once.

    In a thread other than the main one, where no handler can be set, signals do what they did.
    """
    pending: list[type[BaseException]] = []

    def note(number: int, frame: FrameType | None) -> None:
        if pending:
            raise _ENDS[number]
        pending.append(_ENDS[number])

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, note) for number in _ENDS}
    try:
        yield lambda: pending[0] if pending else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
