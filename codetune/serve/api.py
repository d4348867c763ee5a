"""The routes of the OpenAI protocol, and the health address."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from codetune.config import DecodingConfig
from codetune.generate.live import Ask, LiveEngine, ServedModel
from codetune.records import Message
from codetune.serve.asking import find_model, require_style
from codetune.serve.assistant import Assistant
from codetune.serve.errors import invalid
from codetune.serve.events import STILL_THERE, EventStream, event
from codetune.serve.protocol import ChatRequest, CompletionRequest
from codetune.serve.replies import ChatCompletion, Completion, ErrorBody, Head, Health, Model, ModelList, Written, model_of
from codetune.serve.settings import ServeSettings
from codetune.serve.writing import Writing

_DATA = {"type": "string", "description": "a chunk as JSON, or an error; at the end [DONE]"}
_EVENT = {"type": "object", "properties": {"data": _DATA}, "required": ["data"]}
_STREAM = {"text/event-stream": {"itemSchema": _EVENT}}
_GUARDED = (400, 403, 408, 413, 500)
_KEYED = (401, *_GUARDED)
_ASKED = (404, 415, 429, 504, *_KEYED)
PAGE = _ASKED  # what the page's routes may answer
_MEANING = {
    400: "the request is at fault: `param` says where", 401: "no key, or another one", 403: "host or web page not allowed",
    404: "no such model", 408: "the body did not arrive in time", 413: "the body is too large", 415: "the body is not said to be JSON",
    429: "the queue is full: Retry-After says when to ask again", 500: "the server's mistake", 504: "no whole answer in time",
}  # fmt: skip


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses=` of a route: these statuses answer in the protocol's form."""
    return {status: {"model": ErrorBody, "description": _MEANING[status]} for status in sorted(statuses)}


def protocol_routes(assistant: Assistant) -> APIRouter:
    """`/v1/...` and `/health`."""
    routes = APIRouter()
    engine, settings, started = assistant.engine, assistant.settings, int(time.time())

    @routes.get("/health", responses=errors(*_GUARDED))
    def health() -> Health:
        """Whether the server is there, and how much it has to do."""
        names = [model.name for model in engine.models()]
        return Health(models=names, running=_count(engine, "running"), waiting=_count(engine, "waiting"))

    @routes.get("/v1/models", responses=errors(*_KEYED))
    def list_models() -> ModelList:
        """The base first, then the adapters."""
        return ModelList(data=[model_of(model, started) for model in engine.models()])

    @routes.get("/v1/models/{model:path}", responses=errors(404, *_KEYED))
    def retrieve_model(model: str) -> Model:
        """One of them."""
        return model_of(find_model(engine.models(), model), started)

    @routes.post("/v1/chat/completions", response_model=ChatCompletion, responses={**errors(*_ASKED), 200: {"content": _STREAM}})
    async def chat(asked: ChatRequest, request: Request) -> Any:
        """Answer a conversation."""
        return await _answer(assistant, asked, [chat_ask(asked, find_model(engine.models(), asked.model), settings)], request)

    @routes.post("/v1/completions", response_model=Completion, responses={**errors(*_ASKED), 200: {"content": _STREAM}})
    async def complete(asked: CompletionRequest, request: Request) -> Any:
        """Go on with a text, or fill a hole in it."""
        return await _answer(assistant, asked, completion_asks(asked, find_model(engine.models(), asked.model), settings), request)

    return routes


def chat_ask(asked: ChatRequest, model: ServedModel, settings: ServeSettings) -> Ask:
    """The ask that a chat request is. Raises ProtocolError for what the model or the server does not do."""
    turns = tuple(Message("system" if turn.role == "developer" else turn.role, turn.content) for turn in asked.messages)
    require_style(model, asked.prompt_style)
    decoding = _decoding(asked, 1, settings)
    return Ask(asked.model, turns, decoding=decoding, stop=asked.stop, logprobs=asked.top, prompt_style=asked.prompt_style)


def completion_asks(asked: CompletionRequest, model: ServedModel, settings: ServeSettings) -> list[Ask]:
    """The asks that a completion request is, one for each prompt. Raises ProtocolError for what the model or the server does not do."""
    suffix = asked.suffix or None  # an editor at the end of a file has nothing to say
    if asked.prompt_style is not None:
        raise invalid("a prompt is gone on with as it is, without a style: leave it out, or use /v1/chat/completions", "prompt_style")
    if suffix is not None and not model.infills:
        raise invalid(f"{asked.model} does not infill: leave the suffix out, or choose a model that does (/v1/models says which)", "suffix")
    if suffix is not None and not all(isinstance(prompt, str) for prompt in asked.prompt):
        raise invalid("a suffix goes with a prompt of text, not of token ids", "suffix")
    decoding = _decoding(asked, len(asked.prompt), settings)
    return [Ask(asked.model, (), prompt, suffix, decoding, asked.stop, asked.top) for prompt in asked.prompt]


def _decoding(asked: ChatRequest | CompletionRequest, prompts: int, settings: ServeSettings) -> DecodingConfig:
    answers = (asked.n or 1) * prompts
    if answers > settings.max_answers:
        said = f"{answers} answers are asked for, and the server writes {settings.max_answers} at most in one request"
        raise invalid(said, "prompt" if prompts > settings.max_answers else "n")
    return DecodingConfig(
        temperature=asked.temperature or 0.0,
        top_p=1.0 if asked.top_p is None else max(asked.top_p, 1e-9),  # 0 leaves the likeliest token alone
        n=asked.n or 1,
        max_new_tokens=min(asked.most_tokens or settings.default_new_tokens, settings.max_new_tokens),
        seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed % 2**31,
    )


async def _answer(assistant: Assistant, asked: ChatRequest | CompletionRequest, asks: list[Ask], request: Request) -> Response | Any:
    engine = assistant.engine
    fingerprint = f"{request.app.title}-{request.app.version}-{engine.name}"
    head = Head(asked.model, fingerprint, isinstance(asked, ChatRequest), asked.top is not None)
    writing = Writing(engine, asks, request.receive, assistant.settings.timeout_s)
    await writing.begin()
    if asked.stream:
        return EventStream(_events(head, writing, asked.wants_usage), writing)
    try:
        answers = [Written() for _ in range(writing.going)]
        while writing.going:
            for piece in await writing.more():
                answers[piece.index].add(piece)
        return head.whole(answers, writing.prompt_tokens)
    finally:
        writing.cancel()


async def _events(head: Head, writing: Writing, wants_usage: bool) -> AsyncIterator[str]:
    answers = [Written() for _ in range(writing.going)]
    more = {"usage": None} if wants_usage else {}
    for chunk in head.opening(len(answers)):
        yield event(chunk | more)
    while writing.going:
        pieces = await writing.more()
        for piece in pieces:
            answer = answers[piece.index]
            for chunk in head.chunks(piece, answer.token_characters):
                yield event(chunk | more)
            answer.add(piece)
        if not pieces:
            yield STILL_THERE
    if wants_usage:
        yield event(head.last(answers, writing.prompt_tokens))
    yield "data: [DONE]\n\n"


def _count(engine: LiveEngine, name: str) -> int | None:
    """Engines may count what they do; a server's cannot."""
    found = getattr(engine, name, None)
    return found if isinstance(found, int) else None
