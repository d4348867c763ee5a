"""A continuation's text as it grows: token by token, in whole characters, and never a part of what may become a stop sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from codetune.generate.stops import HeldText

_CONTEXT = 4  # tokens before a new one that decide how it is written (a leading space, the rest of a character)
_LONGEST_CHARACTER = 8  # tokens; what is no character after so many is none


class Decoder(Protocol):
    """What is needed of a tokenizer; see `models.load.TextTokenizer`."""

    def decode_after(self, prompt_ids: list[int], ids: list[int]) -> str:
        """The text that `ids` add to the prompt's."""


class Reader(Protocol):
    """Who reads a continuation's tokens as they come."""

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence was met."""

    def add(self, token: int) -> str:
        """The text that can be given out now."""

    def end(self) -> str:
        """What was held back, now that nothing follows."""


class Writing:
    """`add` a token and get the text that can be given out; `stopped` once a stop sequence is there, which ends the text before it."""

    def __init__(self, tokenizer: Decoder, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt[-_CONTEXT:])
        self._read = len(self._ids)  # so many are text already
        self._held = HeldText(stops)

    @property
    def stopped(self) -> bool:
        return self._held.stopped

    def add(self, token: int) -> str:
        self._ids.append(token)
        new = self._text()
        if new.endswith("\ufffd") and len(self._ids) - self._read < _LONGEST_CHARACTER:
            return ""  # a character of which bytes are missing
        self._read = len(self._ids)
        return self._held.add(new)

    def end(self) -> str:
        """What was held back, now that nothing follows."""
        return self._held.add(self._text()) + self._held.rest()

    def _text(self) -> str:
        return self._tokenizer.decode_after(self._ids[max(0, self._read - _CONTEXT) : self._read], self._ids[self._read :])
