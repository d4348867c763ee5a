"""The live engine seam: answers that are written piece by piece, many at once, and may be given up at any moment.

    with closing(engine):
        for piece in stream(engine, Ask("codetune-base", messages=(Message("user", "Reverse a string."),))):
            print(piece.text, end="")

The batch seam (`generate.request`) is for benchmarks, this one for people who wait: `serve`, `chat` and `mend` are given one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol, Self

from codetune.config import DecodingConfig
from codetune.errors import UserError, nearest
from codetune.records import Message

CANCELLED, FAILED = "cancelled", "failed"


class BusyError(UserError):
    """The queue is full: the same ask may be taken later."""


class TooLongError(UserError):
    """The prompt leaves no room for an answer in the model's positions."""


class UnknownModelError(UserError):
    """No model of that name is served."""

    @classmethod
    def of(cls, name: str, there: Iterable[str]) -> Self:
        """`there` are the names that are."""
        return cls(f"no model {name!r} is served: {nearest(name, there)}")


def unknown_style(model: str, style: str, styles: Sequence[str]) -> str:
    """What is said of a prompt style that is none of the model's."""
    return f"{model} cannot be asked in prompt style {style!r}: {nearest(style, styles)}"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that answers: the base, or an adapter on it. `styles` are the prompt styles that it can be asked in."""

    name: str
    base: str
    method: str  # "base", "full", "lora", ...
    prompt_style: str  # what is used where an ask names none: the one of its training, if known
    styles: tuple[str, ...]
    max_positions: int | None  # prompt and answer together; None where only a server knows
    infills: bool = False  # whether it knows marks for what stands before and after a hole


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked: a conversation whose last turn is the user's, or text to go on with.

    `prompt` is continued as it is, without a style; with `suffix` it is what stands before a hole, and the answer is what fills it.
    `decoding.n` answers are written, each of `decoding.max_new_tokens` at most. Of a conversation the style's own stop sequences end
    an answer besides `stop`. `logprobs` asks for the log-probability of every token, and of so many likeliest ones at its place.
    """

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] = ""
    suffix: str | None = None
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    prompt_style: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's text and natural log-probability, before temperature; `top` are the likeliest tokens at its place, likeliest first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new of one continuation. Text that could still become a stop sequence is held back until it cannot.

    `finish` is "" while it goes on; then "eos", "stop", "length", or FAILED with the reason as `text`. The last piece may be without
    text. A continuation that was cancelled gets no piece more.
    """

    index: int
    text: str
    finish: str = ""
    num_tokens: int = 0  # of this continuation, up to here
    logprobs: tuple[TokenLogprob, ...] = ()


class Ticket(Protocol):
    """An ask that was taken."""

    prompt_tokens: int  # 0 where only a server counts them

    def cancel(self) -> None:
        """Give it up: its place is free for another, and no piece of it comes any more. May be called at any time, by any thread."""


class LiveEngine(Protocol):
    """Anything that answers piece by piece: the own engine, a fake, a server, vLLM. All its methods may be called by any thread."""

    name: str

    def models(self) -> tuple[ServedModel, ...]:
        """What it serves, the base first."""

    def submit(self, ask: Ask, tell: Callable[[Piece], None]) -> Ticket:
        """Queue an ask. `tell` is called by the engine's own thread, which it must not hold up.

        Raises UnknownModelError, TooLongError, BusyError, and UserError for what the model cannot do (infilling, a prompt style).
        """

    def close(self) -> None:
        """Cancel all and free the memory."""


def stream(engine: LiveEngine, ask: Ask) -> Iterator[Piece]:
    """The pieces of an ask as they come, until all its continuations have ended. Closing the iterator early cancels it.

    Raises what `submit` raises, and UserError where writing failed.
    """
    yield from take(engine, ask)[1]


def take(engine: LiveEngine, ask: Ask) -> tuple[Ticket, Generator[Piece, None, None]]:
    """An ask that was taken, and its pieces as `stream` gives them: for who looks at the ticket before the first of them."""
    pieces: SimpleQueue[Piece] = SimpleQueue()
    ticket = engine.submit(ask, pieces.put)
    return ticket, _follow(ticket, pieces, ask.decoding.n)


def _follow(ticket: Ticket, pieces: SimpleQueue[Piece], going: int) -> Generator[Piece, None, None]:
    try:
        while going:
            piece = pieces.get()
            if piece.finish == FAILED:
                raise UserError(f"writing failed: {piece.text}")
            yield piece
            going -= bool(piece.finish)
    finally:
        ticket.cancel()


def write(engine: LiveEngine, ask: Ask) -> str:
    """The whole text of the first continuation."""
    return "".join(piece.text for piece in stream(engine, ask) if piece.index == 0)
