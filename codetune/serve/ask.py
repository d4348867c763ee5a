"""`POST /api/ask`: one question to one model, or to two side by side, told as they write and kept in the history."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

from fastapi import APIRouter, Request
from pydantic import Field

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.live import CANCELLED, FAILED, Ask, Piece, ServedModel, TooLongError
from codetune.records import Json, Message
from codetune.serve.api import PAGE, errors
from codetune.serve.asking import Body, Decoding, find_models, shown_decoding
from codetune.serve.assistant import Assistant
from codetune.serve.errors import as_protocol, invalid
from codetune.serve.events import STREAM, EventStream, lines_of
from codetune.serve.history import Answer, Asked, Exchange, History
from codetune.serve.remember import cramped, without_oldest
from codetune.serve.shown import shown_answer, shown_exchange
from codetune.serve.writing import GoneError, TimeLimitError, Writing

_log = logging.getLogger(__name__)
_KEPT_EVERY_S = 0.5  # so much of an answer is lost when the server is killed
_MOST_EXCHANGES = 100  # of a conversation are given to a model, the latest


class AskBody(Body):
    conversation_id: str | None = None
    content: str = Field(min_length=1)
    models: list[str] = Field(min_length=1, max_length=2)
    blind: bool = False
    prompt_style: str | None = None
    decoding: Decoding = Decoding()


def ask_routes(assistant: Assistant, history: History) -> APIRouter:
    routes = APIRouter(responses=errors(*PAGE))

    @routes.post("/api/ask", responses=STREAM)
    async def ask(body: AskBody, request: Request) -> EventStream:
        if body.blind and len(body.models) != 2:
            raise invalid("a blind vote is between two models: give two", "models")
        if not body.content.strip():
            raise invalid("the question is empty: write one", "content")
        models = await find_models(assistant.engine, body.models, body.prompt_style)
        if body.blind:
            secrets.SystemRandom().shuffle(models)
        before = await asyncio.to_thread(history.exchanges, body.conversation_id) if body.conversation_id else ()
        decoding = body.decoding.config(assistant.settings)
        started = time.monotonic()
        writings: list[Writing] = []
        try:
            for model in models:
                turns = (*_turns(before), Message("user", body.content))
                one = Ask(model.name, turns, decoding=decoding, prompt_style=body.prompt_style)
                writings.append(await _begin(assistant, one, request))
            asked = [_asked(model, body.prompt_style, decoding) for model in models]
            exchange = await asyncio.to_thread(history.begin, body.conversation_id, body.content, asked, body.blind)
            title = (await asyncio.to_thread(history.conversation, exchange.conversation)).title
        except BaseException:
            for writing in writings:
                writing.cancel()
            raise
        dialogue = _Dialogue(history, exchange, writings, started)
        return EventStream(lines_of(dialogue.events(title)), dialogue)

    return routes


def _turns(exchanges: Sequence[Exchange]) -> list[Message]:
    """What was said before, as a model is told: of two answers the chosen one, and of an edited one the user's text."""
    turns = list[Message]()
    for exchange in exchanges[-_MOST_EXCHANGES:]:
        if (answer := exchange.taken) is not None:
            turns += [Message("user", exchange.question), Message("assistant", answer.edited or answer.content)]
    return turns


async def _begin(assistant: Assistant, ask: Ask, request: Request) -> Writing:
    """The writing under way, with as many of the latest exchanges as there is room for. Raises what `LiveEngine.submit` raises."""
    while True:
        writing = Writing(assistant.engine, [ask], request.receive, assistant.settings.timeout_s)
        shorter = without_oldest(ask.messages)
        try:
            await writing.begin()
        except TooLongError:
            if not shorter:
                raise
        else:
            if not shorter or not cramped(assistant.engine, ask, writing.prompt_tokens):
                return writing
            writing.cancel()
        ask = dataclasses.replace(ask, messages=shorter)


def _asked(model: ServedModel, prompt_style: str | None, decoding: DecodingConfig) -> Asked:
    style = prompt_style or model.prompt_style
    return Asked(model.name, model.base, model.method, style, shown_decoding(decoding), version("codetune"))


class _Dialogue:
    """The answers of one exchange while they are written."""

    def __init__(self, history: History, exchange: Exchange, writings: Sequence[Writing], started: float) -> None:
        self._exchange = exchange
        self._sides = [_Side(history, *each, started) for each in zip(exchange.answers, writings, strict=True)]
        self._told: asyncio.Queue[Json | None] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []

    async def events(self, title: str) -> AsyncIterator[Json]:
        conversation = {"id": self._exchange.conversation, "title": title}
        yield {"type": "begin", "conversation": conversation, "exchange": shown_exchange(self._exchange)}
        self._pumps = [asyncio.create_task(self._pump(side)) for side in self._sides]
        left = len(self._pumps)
        while left:
            event = await self._told.get()
            if event is None:
                return
            yield event
            left -= event["type"] == "end"
        yield {"type": "done"}

    def cancel(self) -> None:
        """Give up what is still being written and keep what there is of it."""
        for pump in self._pumps:
            pump.cancel()
        for side in self._sides:
            if failure := side.end(CANCELLED):
                _log.error("%s", failure)

    async def _pump(self, side: _Side) -> None:
        """From the engine to the queue, until the answer has ended; None where nobody reads any more."""
        number, finish, message = side.answer.side, FAILED, ""
        try:
            while side.writing.going:
                for piece in await side.writing.more():
                    side.take(piece)
                    finish = piece.finish
                    if piece.text:
                        self._told.put_nowait({"type": "piece", "side": number, "text": piece.text})
        except GoneError:
            self._told.put_nowait(None)
            return
        except Exception as error:
            finish, message = CANCELLED if isinstance(error, TimeLimitError) else FAILED, as_protocol(error).message
        message = side.end(finish) or message
        if message:
            self._told.put_nowait({"type": "error", "side": number, "message": message})
        self._told.put_nowait({"type": "end", "side": number, "answer": shown_answer(side.answer, withheld=self._exchange.is_open)})


class _Side:
    """One answer on its way into the history."""

    def __init__(self, history: History, answer: Answer, writing: Writing, started: float) -> None:
        self._history, self.writing, self._started = history, writing, started
        self.answer = dataclasses.replace(answer, prompt_tokens=writing.prompt_tokens)
        self._kept_at = started

    def take(self, piece: Piece) -> None:
        now = time.monotonic()
        first = self.answer.first_token_s
        if first is None and piece.num_tokens:
            first = now - self._started
        self.answer = dataclasses.replace(
            self.answer, content=self.answer.content + piece.text, num_tokens=piece.num_tokens, first_token_s=first,
            seconds=now - self._started,
        )  # fmt: skip
        if now - self._kept_at > _KEPT_EVERY_S:
            self._history.keep(self.answer)
            self._kept_at = now

    def end(self, finish: str) -> str:
        """Once: what comes later is nothing new. Why the answer could not be kept, where it could not."""
        if self.answer.finish:
            return ""
        self.writing.cancel()
        self.answer = dataclasses.replace(self.answer, finish=finish, seconds=time.monotonic() - self._started)
        try:
            self._history.keep(self.answer)
        except UserError as error:
            return str(error)
        return ""
