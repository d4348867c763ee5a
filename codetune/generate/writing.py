"""A continuation's text as it grows: token by token, in whole characters, and never a part of what may become a stop sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_CONTEXT = 4  # tokens before a new one that decide how it is written (a leading space, the rest of a character)
_LONGEST_CHARACTER = 8  # tokens; what is no character after so many is none


class Decoder(Protocol):
    """What is needed of a tokenizer; see `models.load.TextTokenizer`."""

    def decode_after(self, prompt_ids: list[int], ids: list[int]) -> str:
        """The text that `ids` add to the prompt's."""


class Writing:
    """`add` a token and get the text that can be given out; `stopped` once a stop sequence is there, which ends the text before it."""

    def __init__(self, tokenizer: Decoder, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._ids = list(prompt[-_CONTEXT:])
        self._read = len(self._ids)  # so many are text already
        self._held = ""  # text that is not given out yet
        self.stopped = False

    def add(self, token: int) -> str:
        self._ids.append(token)
        new = self._text()
        if new.endswith("\ufffd") and len(self._ids) - self._read < _LONGEST_CHARACTER:
            return ""  # a character of which bytes are missing
        return self._release(new, final=False)

    def end(self) -> str:
        """What was held back, now that nothing follows."""
        return "" if self.stopped else self._release(self._text(), final=True)

    def _text(self) -> str:
        return self._tokenizer.decode_after(self._ids[max(0, self._read - _CONTEXT) : self._read], self._ids[self._read :])

    def _release(self, new: str, final: bool) -> str:
        self._read = len(self._ids)
        text = self._held + new
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        kept = 0 if final else max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop sequence.

    >>> _overlap("x = 1\\n#", "\\n### ")
    2
    """
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
