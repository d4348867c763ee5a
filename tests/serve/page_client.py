"""An assistant with a fake engine, and a client of its page's routes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask
from codetune.serve.app import make_app
from codetune.serve.assistant import Assistant
from codetune.serve.history import History
from codetune.serve.settings import ServeSettings
from codetune.serve.workbench import Workbench

Json = dict[str, Any]


def parrot(ask: Ask, index: int) -> str:
    """Who it is, how much it was told, and what was asked last."""
    return f"{ask.model} {len(ask.messages)} {ask.messages[-1].content}"


@dataclass
class Page:
    """What a test asks the routes with."""

    client: TestClient
    engine: FakeLiveEngine
    assistant: Assistant

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(path, params=query).json()

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(path, json=body).json()

    def events(self, path: str, **body: Any) -> list[Json]:
        answer = self.client.post(path, json=body)
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        return events_of(answer.text)

    def ask(self, content: str, *models: str, **body: Any) -> Json:
        """The exchange as the history has it afterwards, with `conversation`."""
        events = self.events("/api/ask", content=content, models=list(models or ["base"]), **body)
        conversation = events[0]["conversation"]["id"]
        (exchange,) = [one for one in self.exchanges(conversation) if one["id"] == events[0]["exchange"]["id"]]
        return exchange | {"conversation": conversation}

    def exchanges(self, conversation: str) -> list[Json]:
        found: list[Json] = self.get(f"/api/conversations/{conversation}")["exchanges"]
        return found


def events_of(text: str) -> list[Json]:
    return [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line]


@contextmanager
def page(
    folder: Path,
    answer: Callable[[Ask, int], str] = parrot,
    models: Sequence[str] = ("base", "tuned"),
    workbench: Workbench | None = None,
    settings: ServeSettings | None = None,
    **engine: Any,
) -> Iterator[Page]:
    """`engine` are arguments of the fake engine."""
    fake = FakeLiveEngine(answer, models, **engine)
    with closing(History(folder / "assistant.sqlite")) as history:
        assistant = Assistant(fake, settings or ServeSettings(), folder, folder / "runs", workbench, "no sandbox in this test", history)
        with TestClient(make_app(assistant), base_url="http://localhost") as client:
            yield Page(client, fake, assistant)
