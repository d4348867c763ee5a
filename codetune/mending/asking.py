"""How a live engine is asked round after round: greedily at first, then drawn, since a model that is sure repeats its mistake."""

from __future__ import annotations

from collections.abc import Callable

from codetune.config import DecodingConfig
from codetune.generate.live import Ask, LiveEngine, stream
from codetune.records import Message

SECOND_TEMPERATURE, STEP, MOST = 0.4, 0.2, 1.0  # of the second round at least; more in each that follows, up to the most


def decoding_of(number: int, decoding: DecodingConfig) -> DecodingConfig:
    """How the answer of a round (from 1) is written: the first as asked for, later ones drawn ever more freely, each with its own seed.

    >>> decoding_of(3, DecodingConfig(seed=7)).temperature, decoding_of(3, DecodingConfig(seed=7)).seed
    (0.6, 9)
    """
    if number <= 1:
        return decoding
    least = round(min(SECOND_TEMPERATURE + STEP * (number - 2), MOST), 2)
    return decoding.model_copy(update={"temperature": max(decoding.temperature, least), "seed": decoding.seed + number - 1})


class Asking:
    """What `mend` asks: a model of a live engine. `tell` is given the pieces of an answer as they come."""

    def __init__(
        self, engine: LiveEngine, model: str, decoding: DecodingConfig | None = None, prompt_style: str | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self._engine, self._model, self._style = engine, model, prompt_style
        self._decoding = (decoding or DecodingConfig(max_new_tokens=512)).model_copy(update={"n": 1})
        self._tell = tell
        self.asked = 0  # answers that were begun

    def __call__(self, messages: tuple[Message, ...]) -> str:
        """The answer. Raises what the engine raises: TooLongError for a prompt that does not fit, which is then no answer begun."""
        ask = Ask(self._model, messages, decoding=decoding_of(self.asked + 1, self._decoding), prompt_style=self._style)
        text: list[str] = []
        for number, piece in enumerate(stream(self._engine, ask)):
            self.asked += not number
            text.append(piece.text)
            if self._tell and piece.text:
                self._tell(piece.text)
        return "".join(text)
