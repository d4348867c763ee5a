"""The engine seam: what is asked of whatever writes completions, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from codetune.config import DecodingConfig


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be continued `n` times, each until EOS, a stop sequence, or the limit of new tokens."""

    task_id: str
    prompt: str
    n: int = 1
    stop: tuple[str, ...] = ()
    has_special: bool = False  # the text itself holds BOS and turn marks (chat templates)


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation. `text` ends before the stop sequence; `finish` is "eos", "stop" or "length"."""

    task_id: str
    index: int
    text: str
    finish: str
    num_tokens: int


class Engine(Protocol):
    """Anything that continues prompts: the own engine, a fake, a server."""

    name: str

    def generate(
        self, requests: Sequence[Request], decoding: DecodingConfig, report: Callable[[int, int], None] | None = None
    ) -> list[Generated]:
        """All continuations, in the order of requests and indices. `report(done, all)` is told as sequences end."""
