"""A small OpenAI-compatible server on a real socket, which answers, and misbehaves, as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in; `number` counts from 0."""

    number: int
    method: str
    path: str
    authorization: str
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """What was asked, by either endpoint: the text, or the last turn's."""
        return self.body["prompt"] if "prompt" in self.body else self.body["messages"][-1]["content"]


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is sent as JSON, bytes as they are; None breaks the connection off without a word."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def written(asked: Asked, *texts: str, finish: str = "stop", tokens: int | None = 6, **more: Any) -> Reply:
    """Choices in the form of the endpoint that was asked; `tokens` are those of all of them."""
    form = (lambda text: {"message": {"role": "assistant", "content": text}}) if "messages" in asked.body else (lambda text: {"text": text})
    choices = [{"index": index, "finish_reason": finish, **form(text), **more} for index, text in enumerate(texts)]
    return Reply({"choices": choices} | ({} if tokens is None else {"usage": {"completion_tokens": tokens}}))


def streamed(*events: Any, ends: bool = True) -> Reply:
    """Server-sent events, with the one that says that no more come."""
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * ends
    return Reply("".join(lines).encode(), headers={"Content-Type": "text/event-stream; charset=utf-8"})


def fault(status: int, message: str, **more: Any) -> Reply:
    """An error in OpenAI's form."""
    return Reply({"error": {"message": message, **more}}, status)


class ScriptedServer(ThreadingHTTPServer):
    """Lists `models` at /v1/models (404 without any), and has `reply` answer every POST. `asked` are the POSTs, in order."""

    daemon_threads = True

    def __init__(self, reply: Callable[[Asked], Reply], models: tuple[str, ...] = ("tiny",)) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.models = reply, models
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, method: str, path: str, authorization: str, body: dict[str, Any]) -> Reply:
        if (method, path) == ("GET", "/v1/models"):
            return Reply({"object": "list", "data": [{"id": name} for name in self.models]}) if self.models else fault(404, "not found")
        with self.lock:
            asked = Asked(len(self.asked), method, path, authorization, body)
            self.asked.append(asked)
        return self.reply(asked)


@contextmanager
def serving(reply: Callable[[Asked], Reply], models: tuple[str, ...] = ("tiny",)) -> Iterator[ScriptedServer]:
    """The server, for as long as the block runs."""
    with ScriptedServer(reply, models) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_GET(self) -> None:  # http.server's name
        self._send(self.server.answer("GET", self.path, self.headers.get("Authorization", ""), {}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(self.server.answer("POST", self.path, self.headers.get("Authorization", ""), body))

    def _send(self, reply: Reply) -> None:
        if reply.body is None:
            self.close_connection = True
            return
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        try:
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except OSError:  # the client gave up waiting
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the tests' stderr."""
