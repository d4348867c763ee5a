"""How a model with few positions is asked in a long conversation: the oldest exchanges are left out until there is room to answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

from codetune.generate.live import Ask, LiveEngine, Piece, TooLongError, take
from codetune.records import Message

_ANSWER_SHARE = 4  # an answer is promised a quarter of the positions at most, or one long wish would cost the whole memory


def stream_remembered(engine: LiveEngine, ask: Ask) -> tuple[int, Generator[Piece, None, None]]:
    """How many of the oldest exchanges were left out, and the pieces of the answer. The system message and the question always stay.

    Raises what `submit` raises; TooLongError where the question alone is too long.
    """
    left_out = 0
    while True:
        shorter = without_oldest(ask.messages)
        try:
            ticket, pieces = take(engine, ask)
        except TooLongError:
            if not shorter:
                raise
        else:
            if not shorter or not cramped(engine, ask, ticket.prompt_tokens):
                return left_out, pieces
            ticket.cancel()
        left_out, ask = left_out + 1, dataclasses.replace(ask, messages=shorter)


def without_oldest(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation without its first question and what answered it; empty where only the last question would go."""
    asked = [number for number, message in enumerate(messages) if message.role == "user"]
    return (*messages[: asked[0]], *messages[asked[1] :]) if len(asked) > 1 else ()


def cramped(engine: LiveEngine, ask: Ask, prompt_tokens: int) -> bool:
    """Whether a prompt of so many tokens leaves less room than the answer is promised."""
    return prompt_tokens + _wanted(engine, ask) > _positions(engine, ask.model)


def _positions(engine: LiveEngine, model: str) -> float:
    """Without end where only a server knows: it says itself what is too long."""
    found = [served.max_positions for served in engine.models() if served.name == model]
    return found[0] if found and found[0] is not None else float("inf")


def _wanted(engine: LiveEngine, ask: Ask) -> float:
    """How many tokens an answer should have room for."""
    return min(ask.decoding.max_new_tokens, _positions(engine, ask.model) // _ANSWER_SHARE)
