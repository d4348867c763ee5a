"""Answers as server-sent events: lines of `data: {json}`, which end in an error's event where something goes wrong on the way."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any, Protocol

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from codetune.records import Json
from codetune.serve.errors import as_protocol
from codetune.serve.writing import GoneError

_log = logging.getLogger(__name__)

STILL_THERE = ": waiting\n\n"  # a comment, for whoever breaks silent connections off


_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string", "description": "see docs/page-api.md"}}}
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"itemSchema": _EVENT}}}}  # `responses=` of a route


class GivenUp(Protocol):
    """What events come from: a `Writing`, or several together."""

    def cancel(self) -> None:
        """Nobody reads any more, or all was told. On the event loop's thread."""


class EventStream(StreamingResponse):
    """Events of a writing that is given up when the response ends, however it ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], writing: GivenUp) -> None:
        super().__init__(told_in_order(events), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._writing = writing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._writing.cancel()


def event(row: Json) -> str:
    """One event. In ASCII: readers differ in which other characters end a line."""
    return f"data: {json.dumps(row)}\n\n"


async def lines_of(rows: AsyncIterator[Json]) -> AsyncIterator[str]:
    """An event for each row."""
    async for row in rows:
        yield event(row)


async def told_in_order(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events, and at a failure, which can have no status any more, an event that says so."""
    try:
        async for each in events:
            yield each
    except GoneError:
        return
    except Exception as error:
        yield f"data: {as_protocol(error).text()}\n\n"
