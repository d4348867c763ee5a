"""Stop sequences in a text that comes piece by piece: nothing is shown that could still become one."""

from __future__ import annotations

from collections.abc import Sequence

from codetune.generate.fake import cut_at_stop


class HeldText:
    """The end of one continuation, held back as long as it could be the start of a stop sequence.

    >>> held = HeldText(("\\ndef ",))
    >>> held.add("return 1\\nde"), held.add("bug"), held.add("\\ndef g"), held.stopped
    ('return 1', '\\ndebug', '', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False  # a stop sequence was met: no text comes after it

    def add(self, text: str) -> str:
        """What may be shown now."""
        if self.stopped:
            return ""
        shown, stopped = cut_at_stop(self._held + text, self._stops)
        if stopped:
            self._held, self.stopped = "", True
            return shown
        keep = max((_overlap(shown, stop) for stop in self._stops), default=0)
        self._held = shown[len(shown) - keep :]
        return shown[: len(shown) - keep]

    def rest(self) -> str:
        """What was held back when the text ended by itself."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` that `stop` begins with, shorter than it."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
