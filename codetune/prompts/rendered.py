"""A training text in its segments: who says what, and which of it counts for the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:  # recipes take a tenth of a second to import, which scoring can do without
    from codetune.config import LossOn


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text that is turned into tokens by itself, so that its neighbours never change its ids."""

    text: str
    supervised: bool
    ends_turn: bool = False  # an answer, or the whole text, ends here
    is_mark: bool = False  # a token of the family's own, by its name: elsewhere a text that spells one is just a text


@dataclass(frozen=True, slots=True)
class Rendered:
    """A training text. `has_special` means that the text itself holds BOS and turn marks, as a chat template writes them: then names
    of special tokens stand for them everywhere in it."""

    segments: tuple[Segment, ...]
    has_special: bool = False

    @classmethod
    def pair(cls, prompt: str, completion: str, has_special: bool = False) -> Self:
        """A prompt and the answer to it."""
        return cls((Segment(prompt, supervised=False), Segment(completion, supervised=True, ends_turn=True)), has_special)

    @classmethod
    def plain(cls, text: str) -> Self:
        """A text that nobody asked for: all of it is learned."""
        return cls((Segment(text, supervised=True, ends_turn=True),))

    @property
    def prompt(self) -> str:
        """What a model is given at inference: all before the last answer."""
        return "".join(segment.text for segment in self.segments[: self._last])

    @property
    def completion(self) -> str:
        return "".join(segment.text for segment in self.segments[self._last :])

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments)

    def supervised(self, loss_on: LossOn) -> tuple[bool, ...]:
        """Which segments count for the loss: those of the last turn (`completion`), of every answer (`assistant`), or all."""
        if loss_on == "all":
            return (True,) * len(self.segments)
        ends = [number for number, segment in enumerate(self.segments[:-1]) if segment.ends_turn]
        first = ends[-1] + 1 if ends and loss_on == "completion" else 0
        return tuple(segment.supervised and number >= first for number, segment in enumerate(self.segments))

    def eos_follows(self, number: int) -> bool:
        """Whether EOS comes after a segment: where an answer ends and the text has no turn marks of its own, and at the very end."""
        return self.segments[number].ends_turn and (not self.has_special or number == len(self.segments) - 1)

    def has_marks(self, number: int) -> bool:
        """Whether names of special tokens in a segment stand for the tokens."""
        return self.has_special or self.segments[number].is_mark

    @property
    def _last(self) -> int:
        """The last supervised segment that is no mark."""
        learned = (number for number, segment in enumerate(self.segments) if segment.supervised and not segment.is_mark)
        return max(learned, default=len(self.segments))
