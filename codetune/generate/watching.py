"""Stop sequences found in token ids, for answers whose text nobody reads before they end.

What a token adds to a text is decoded once and remembered, so that a step of a batch decodes nothing; only where a stop sequence has
characters that may be cut into several tokens is the end of the text decoded anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from codetune.models.load import TextTokenizer

_TAIL_TOKENS = 12  # a stop sequence with characters beyond ASCII is looked for in the text of so many last tokens


class Pieces(dict[int, str]):
    """The text that a token adds after another one, by its id. A part of a character is U+FFFD."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._before = tokenizer.encode("a", with_bos=False)  # SentencePiece writes a leading space only after something

    def __missing__(self, token: int) -> str:
        self[token] = text = self._tokenizer.decode_after(self._before, [token])
        return text

    def text(self, ids: Sequence[int]) -> str:
        """Of several tokens."""
        return self._tokenizer.decode_after(self._before, list(ids))


class Watching:
    """A reader that gives nothing out and says when a stop sequence is there.

    >>> from types import SimpleNamespace
    >>> letters = SimpleNamespace(encode=lambda text, with_bos: [], decode_after=lambda before, ids: "".join(map(chr, ids)))
    >>> watching = Watching(Pieces(letters), ("ab",))
    >>> [(watching.add(ord(letter)), watching.stopped) for letter in "xab"]
    [('', False), ('', False), ('', True)]
    """

    def __init__(self, pieces: Pieces, stops: Sequence[str]) -> None:
        self._pieces, self._stops = pieces, [stop for stop in stops if stop]
        self._plain = all(stop.isascii() for stop in self._stops)
        self._keep = max(map(len, self._stops), default=1) - 1  # characters that may be the beginning of a stop sequence
        self._tail = ""
        self._ids: list[int] = []
        self.stopped = False

    def add(self, token: int) -> str:
        if not self._stops:
            return ""
        if self._plain:
            text = self._tail + self._pieces[token]
            self._tail = text[-self._keep :] if self._keep else ""
        else:
            self._ids = [*self._ids, token][-_TAIL_TOKENS:]
            text = self._pieces.text(self._ids)
        self.stopped = self.stopped or any(stop in text for stop in self._stops)
        return ""

    def end(self) -> str:
        return ""
