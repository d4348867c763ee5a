"""What an OpenAI-compatible server is sent for a live ask, and what its stream of events says, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from codetune.errors import UserError, nearest
from codetune.generate.live import Ask, Piece, TokenLogprob
from codetune.generate.openai import CHAT, COMPLETIONS, finish_of
from codetune.generate.server import fault_in
from codetune.generate.stops import HeldText
from codetune.prompts.template import make_template
from codetune.records import Json, Problem

STYLES = ("chat", "instruction", "alpaca", "docstring", "completion")  # all but the first are written here


def request_of(ask: Ask, knows_styles: bool = False) -> tuple[str, Json, tuple[str, ...]]:
    """Path and body of the request for all continuations, and where they end. `knows_styles`: it is a server of codetune's.

    Of earlier turns that are written here the end marks are left out: a server is sent text. Raises UserError for an unknown style.
    """
    decoding = ask.decoding
    body: Json = {
        "model": ask.model, "n": decoding.n, "temperature": decoding.temperature, "top_p": decoding.top_p,
        "max_tokens": decoding.max_new_tokens, "seed": decoding.seed, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    style = "chat" if knows_styles else ask.prompt_style or "chat"
    if style not in STYLES:
        raise UserError(f"prompt style {style!r} is not for a model behind a server: {nearest(style, STYLES)}")
    if not (ask.messages or ask.prompt):
        raise UserError("the prompt is empty: give some text")
    stops, chats = ask.stop, bool(ask.messages) and style == "chat"
    if chats:
        body["messages"] = [{"role": message.role, "content": message.content} for message in ask.messages]
    elif ask.messages:
        template = make_template(style)
        body["prompt"] = template.conversation(ask.messages).prompt
        stops += template.stop_sequences(Problem("", instruction=ask.messages[-1].content))
    else:
        body["prompt"] = ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt)
    body |= {"stop": list(stops)} if stops else {}
    body |= {"prompt_style": ask.prompt_style} if chats and knows_styles and ask.prompt_style else {}
    body |= {"suffix": ask.suffix} if ask.suffix is not None else {}
    if ask.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": ask.logprobs} if chats else {"logprobs": ask.logprobs}
    return (CHAT if chats else COMPLETIONS), body, stops


def events(response: httpx2.Response) -> Iterator[Json]:
    """The objects of a stream of server-sent events; of a server that does not stream its one answer.

    Raises UserError for an error among them, and for a stream that ends before it says so.
    """
    if "text/event-stream" not in response.headers.get("Content-Type", ""):
        response.read()
        yield _object(response.text)
        return
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        if line.startswith("data:") and data:
            yield _object(data)
    raise UserError("the server broke the answer off")


def _object(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"the server answers what is no JSON object: {text}")
    if "error" in found:
        raise UserError(fault_in(found) or "the server says that it failed, and nothing more")
    return found


@dataclass(slots=True)
class Continuation:
    """One of the continuations of an ask, as far as it has come."""

    index: int
    stops: Sequence[str]
    num_tokens: int = 0
    finish: str = ""
    held: HeldText = field(init=False)

    def __post_init__(self) -> None:
        self.held = HeldText(self.stops)

    def take(self, choice: Json) -> Piece | None:
        """What a choice of one event adds, if anything. Its last piece is `end`."""
        if self.finish:
            return None
        text = _text(choice)
        logprobs = _logprobs(choice.get("logprobs"))
        self.num_tokens += len(logprobs) or bool(text)  # a server sends a token at a time, mostly
        shown = self.held.add(text)
        if choice.get("finish_reason"):
            shown += self.held.rest()
            reason = finish_of(choice, self.stops)
            self.finish = reason if reason in ("eos", "length") else "stop"  # a filter, say, or the call of a tool
        if self.held.stopped:
            self.finish = "stop"
        return Piece(self.index, shown, "", self.num_tokens, logprobs) if shown or logprobs else None

    def end(self, num_tokens: int | None) -> Piece:
        """The last piece, with what the server counted where it did."""
        return Piece(self.index, "", self.finish, self.num_tokens if num_tokens is None else num_tokens)


def _text(choice: Json) -> str:
    """Of a chunk or of a whole answer, in either endpoint's form. Empty for what is no text, as reasoning and tools are none."""
    said = choice.get("delta") or choice.get("message") or {}
    text = choice.get("text") or (said.get("content") if isinstance(said, dict) else None)
    return text if isinstance(text, str) else ""


def _logprobs(found: Any) -> tuple[TokenLogprob, ...]:
    """From the form of /chat/completions, or of /completions. Places without a number (the prompt's first token) are left out."""
    if not isinstance(found, dict):
        return ()
    if isinstance(found.get("content"), list):
        return tuple(
            TokenLogprob(each["token"], each["logprob"], tuple((top["token"], top["logprob"]) for top in each.get("top_logprobs") or ()))
            for each in found["content"]
        )
    tokens, values = found.get("tokens") or [], found.get("token_logprobs") or []
    tops = found.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(token, value, tuple(sorted((top or {}).items(), key=lambda pair: -pair[1])))
        for token, value, top in zip(tokens, values, tops, strict=False)
        if value is not None
    )
