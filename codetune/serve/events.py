"""Server-sent events as the page reads them: one JSON object a line, and an end in order whatever ends the connection."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from codetune.records import Json


class Events(StreamingResponse):
    """Sends events as they come. `close` is called once it is over, also where the client was gone before the first event."""

    def __init__(self, events: AsyncIterator[Json], close: Callable[[], None]) -> None:
        lines = (f"data: {json.dumps(event)}\n\n" async for event in events)
        super().__init__(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()
