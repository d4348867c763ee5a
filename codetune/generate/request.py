"""The engine seam: what is asked of whatever writes completions, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from codetune.config import DecodingConfig


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be continued `n` times, each until EOS, a stop sequence, or the limit of new tokens."""

    task_id: str
    prompt: str
    n: int = 1
    stop: tuple[str, ...] = ()
    has_special: bool = False  # the text itself holds BOS and turn marks (chat templates)
    voice: str = ""  # of an engine with several models or adapters: the one that answers; its first where none is named


TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation. `text` ends before the stop sequence; `finish` says what ended it.

    "eos", "stop", "length" (no token more), or "too_long": the prompt is longer than the model's positions, `text` is empty.
    """

    task_id: str
    index: int
    text: str
    finish: str
    num_tokens: int
    voice: str = ""  # the request's


Report = Callable[[Sequence[Generated]], None]


class Engine(Protocol):
    """Anything that continues prompts: the own engine, a fake, a server."""

    name: str

    def room(self, request: Request) -> int | None:
        """How many new tokens fit after the prompt, 0 or fewer where it is too long; None where only the server knows."""

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        """All continuations, in the order of requests and indices. `report` is given them as they end, a request's together."""
