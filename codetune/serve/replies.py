"""The answers of the OpenAI protocol: as models for whole ones and their schema, and as chunks of a stream."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from codetune.generate.live import Piece, ServedModel, TokenLogprob
from codetune.records import Json

_LEAST_LOGPROB = -9999.0  # JSON has no infinity; the official API says this
_FINISH: dict[str, Literal["stop", "length"]] = {"eos": "stop", "stop": "stop", "length": "length"}


class ErrorDetail(BaseModel):
    """`param` names the field at fault, `code` is for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every answer that is no success."""

    error: ErrorDetail


class Model(BaseModel):
    """The base or an adapter; what follows `owned_by` is codetune's own."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "codetune"
    base: str
    method: str
    prompt_style: str
    prompt_styles: list[str]
    max_model_len: int | None
    infills: bool


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """`running` and `waiting` are answers under way and in the queue, null where the engine cannot tell."""

    status: Literal["ok"] = "ok"
    models: list[str]
    running: int | None
    waiting: int | None


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    content: list[ChatLogprob]
    refusal: None = None


class CompletionLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """`stop_reason` is vLLM's: null where the model ended by itself, else what did."""

    index: int
    finish_reason: Literal["stop", "length"]
    stop_reason: str | None


class ChatChoice(Choice):
    message: ChatMessage
    logprobs: ChatLogprobs | None


class CompletionChoice(Choice):
    text: str
    logprobs: CompletionLogprobs | None


class Reply(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage


class ChatCompletion(Reply):
    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]


class Completion(Reply):
    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]


@dataclass(slots=True)
class Written:
    """One answer as far as it is written."""

    text: str = ""
    finish: str = ""
    num_tokens: int = 0
    logprobs: list[TokenLogprob] = field(default_factory=list)
    token_characters: int = 0  # of the tokens in `logprobs`

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.finish = piece.finish
        self.num_tokens = piece.num_tokens
        self.logprobs += piece.logprobs
        self.token_characters += sum(len(each.token) for each in piece.logprobs)


@dataclass(frozen=True, slots=True)
class Head:
    """What all parts of one answer begin with."""

    model: str
    fingerprint: str
    chat: bool
    logprobs: bool
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def _fields(self) -> Json:
        name = f"{'chatcmpl' if self.chat else 'cmpl'}-{self.id}"
        return {"id": name, "created": self.created, "model": self.model, "system_fingerprint": self.fingerprint}

    def whole(self, answers: Sequence[Written], prompt_tokens: int) -> ChatCompletion | Completion:
        """The answer that is not streamed."""
        fields = self._fields() | {"usage": usage(prompt_tokens, answers)}
        if self.chat:
            return ChatCompletion(choices=[self._chat_choice(index, each) for index, each in enumerate(answers)], **fields)
        return Completion(choices=[self._completion_choice(index, each) for index, each in enumerate(answers)], **fields)

    def _chat_choice(self, index: int, answer: Written) -> ChatChoice:
        logprobs = ChatLogprobs(content=[_chat_logprob(each) for each in answer.logprobs]) if self.logprobs else None
        return ChatChoice(index=index, message=ChatMessage(content=answer.text), logprobs=logprobs, **_end(answer.finish))

    def _completion_choice(self, index: int, answer: Written) -> CompletionChoice:
        logprobs = _completion_logprobs(answer.logprobs, 0) if self.logprobs else None
        return CompletionChoice(index=index, text=answer.text, logprobs=logprobs, **_end(answer.finish))

    def opening(self, count: int) -> list[Json]:
        """The chunks of a chat that say who speaks; none of a completion."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return [self._chunk({"index": index, "delta": delta}) for index in range(count)] if self.chat else []

    def chunks(self, piece: Piece, offset: int) -> list[Json]:
        """What is new of one answer, of which so many characters of tokens came before; its end is a chunk of its own, as in the API."""
        made = []
        if piece.text or piece.logprobs:
            new: Json = {"delta": {"content": piece.text}} if self.chat else {"text": piece.text}
            if self.logprobs:
                new["logprobs"] = self._new_logprobs(piece.logprobs, offset)
            made.append(self._chunk({"index": piece.index, **new}))
        if piece.finish:
            made.append(self._chunk({"index": piece.index, **({"delta": {}} if self.chat else {"text": ""}), **_end(piece.finish)}))
        return made

    def _new_logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> Json:
        if self.chat:
            return ChatLogprobs(content=[_chat_logprob(each) for each in tokens]).model_dump()
        return _completion_logprobs(tokens, offset).model_dump()

    def last(self, answers: Sequence[Written], prompt_tokens: int) -> Json:
        """The chunk with the tokens counted."""
        return self._chunk() | {"usage": usage(prompt_tokens, answers).model_dump()}

    def _chunk(self, *choices: Json) -> Json:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        ended = [{"finish_reason": None, "logprobs": None} | choice for choice in choices]
        return self._fields() | {"object": kind, "choices": ended}


def usage(prompt_tokens: int, answers: Sequence[Written]) -> Usage:
    written = sum(answer.num_tokens for answer in answers)
    return Usage(prompt_tokens=prompt_tokens, completion_tokens=written, total_tokens=prompt_tokens + written)


def model_of(served: ServedModel, created: int) -> Model:
    """A served model as the list has it."""
    return Model(
        id=served.name, created=created, base=served.base, method=served.method, prompt_style=served.prompt_style,
        prompt_styles=list(served.styles), max_model_len=served.max_positions, infills=served.infills,
    )  # fmt: skip


def _end(finish: str) -> dict[str, Any]:
    return {"finish_reason": _FINISH.get(finish, "stop"), "stop_reason": "stop" if finish == "stop" else None}


def _chat_logprob(token: TokenLogprob) -> ChatLogprob:
    return ChatLogprob(**_logprob(token.token, token.logprob), top_logprobs=[TopLogprob(**_logprob(*each)) for each in token.top])


def _logprob(token: str, logprob: float) -> dict[str, Any]:
    """Bytes are left out where a token is only a part of a character, so that its text is not what it is."""
    return {"token": token, "logprob": _finite(logprob), "bytes": None if "\ufffd" in token else list(token.encode("utf-8", "replace"))}


def _completion_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs:
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    top = [{text: _finite(logprob) for text, logprob in token.top} for token in tokens]
    return CompletionLogprobs(
        tokens=[token.token for token in tokens], token_logprobs=[_finite(token.logprob) for token in tokens],
        top_logprobs=top if any(top) else None, text_offset=offsets,
    )  # fmt: skip


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _LEAST_LOGPROB
