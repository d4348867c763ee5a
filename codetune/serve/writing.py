"""Answers of a live engine on an event loop: the engine's threads tell, a request's handler reads.

    async with Writing(engine, asks, request.receive, timeout_s) as writing:
        while writing.going:
            for piece in await writing.more():
                ...
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from functools import partial
from types import TracebackType

from starlette.types import Receive

from codetune.generate.live import FAILED, Ask, LiveEngine, Piece, Ticket


class GoneError(Exception):
    """Who asked went away."""


class TimeLimitError(Exception):
    """The answers were not whole within the limit."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"not whole after {timeout_s:g} s")
        self.timeout_s = timeout_s


class FailedError(Exception):
    """The engine failed; the message is its reason, which is nothing for clients."""


class Writing:
    """Some asks that are answered together. Answer i of ask a has index (the asks' n before a) + i.

    What was told and not read is kept as one piece for each answer, so that a slow reader costs its text and no more.
    """

    def __init__(self, engine: LiveEngine, asks: Sequence[Ask], receive: Receive, timeout_s: float) -> None:
        self._engine, self._asks, self._receive = engine, tuple(asks), receive
        self._loop = asyncio.get_running_loop()
        self._timeout_s, self._deadline = timeout_s, self._loop.time() + timeout_s
        self._news = asyncio.Event()
        self._lock = threading.Lock()  # of the three below
        self._unread: dict[int, Piece] = {}
        self._tickets: list[Ticket] = []
        self._given_up = False
        self._gone = False
        self._watch: asyncio.Task[None] | None = None
        self.going = sum(ask.decoding.n for ask in self._asks)  # answers that have not ended

    @property
    def prompt_tokens(self) -> int:
        return sum(ticket.prompt_tokens for ticket in self._tickets)

    async def begin(self) -> None:
        """Submit all. Raises what `LiveEngine.submit` raises; then none of them is under way."""
        try:
            await asyncio.to_thread(self._submit)
        except BaseException:
            self.cancel()
            raise
        self._watch = self._loop.create_task(self._watch_client())

    async def more(self, wait_s: float = 15.0) -> list[Piece]:
        """What is new, one piece for each answer that has news; empty where there was nothing for so long.

        Raises GoneError, TimeLimitError, FailedError.
        """
        left_s = self._deadline - self._loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(wait_s, left_s))):
                await self._news.wait()
        self._news.clear()
        if self._gone:
            raise GoneError
        with self._lock:
            pieces, self._unread = list(self._unread.values()), {}
        failed = next((piece for piece in pieces if piece.finish == FAILED), None)
        if failed is not None:
            raise FailedError(failed.text)
        self.going -= sum(bool(piece.finish) for piece in pieces)
        if self.going and self._loop.time() >= self._deadline:
            raise TimeLimitError(self._timeout_s)
        return pieces

    def cancel(self) -> None:
        """Give all up; nothing where they have ended. On the event loop's thread."""
        if self._watch is not None:
            self._watch.cancel()
        with self._lock:
            self._given_up, tickets = True, tuple(self._tickets)
        for ticket in tickets:
            ticket.cancel()

    async def __aenter__(self) -> Writing:
        await self.begin()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cancel()

    def _submit(self) -> None:
        """In a thread: an engine may have to tokenise a long prompt, or to ask a server."""
        first = 0
        for ask in self._asks:
            with self._lock:
                if self._given_up:
                    return
            ticket = self._engine.submit(ask, partial(self._told, first))
            with self._lock:
                self._tickets.append(ticket)
                late = self._given_up
            if late:
                ticket.cancel()
            first += ask.decoding.n

    def _told(self, first: int, piece: Piece) -> None:
        """By an engine's thread; `first` is the index of its ask's first answer."""
        piece = dataclasses.replace(piece, index=first + piece.index)
        with self._lock:
            quiet = not self._unread
            before = self._unread.get(piece.index)
            self._unread[piece.index] = piece if before is None else _joined(before, piece)
        if quiet:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
                self._loop.call_soon_threadsafe(self._news.set)

    async def _watch_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._news.set()


def _joined(before: Piece, after: Piece) -> Piece:
    """Two pieces of one answer as one; of a failed one, the reason alone."""
    if FAILED in (before.finish, after.finish):
        return after if after.finish == FAILED else before
    return Piece(after.index, before.text + after.text, after.finish, after.num_tokens, before.logprobs + after.logprobs)
