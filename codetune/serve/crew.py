"""Threads for work that takes long, with a bound on what waits: beyond it a caller is told to come again later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from codetune.generate.live import BusyError

T = TypeVar("T")


class Crew:
    """`workers` threads; `waiting` more pieces of work may wait for one of them."""

    def __init__(self, what: str, workers: int, waiting: int) -> None:
        """`what` names the work in the message of a refusal: "programs"."""
        self._what, self._most = what, workers + waiting
        self._threads = ThreadPoolExecutor(workers, what)
        self._taken, self._lock = 0, threading.Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Raises BusyError where too much waits already."""
        with self._lock:
            if self._taken >= self._most:
                raise BusyError(f"{self._taken} {self._what} are waiting already: try again later")
            self._taken += 1
        try:
            future = self._threads.submit(work)
        except BaseException:
            self._done()
            raise
        future.add_done_callback(self._done)
        return future

    def close(self) -> None:
        """What has not begun is dropped; returns when what has begun is through."""
        self._threads.shutdown(cancel_futures=True)

    def _done(self, future: object = None) -> None:
        with self._lock:
            self._taken -= 1
