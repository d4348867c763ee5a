"""A live engine without a model: answers come from a function. Ships for tests, yours included."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

from codetune.errors import UserError
from codetune.generate.fake import cut_at_stop
from codetune.generate.live import Ask, BusyError, Piece, ServedModel, Ticket, TokenLogprob, TooLongError, UnknownModelError


class FakeLiveEngine:
    """Answers by a function of (ask, index), one word a piece, each ask in a thread of its own, `pause_s` between two words."""

    name = "fake"

    def __init__(
        self, answer: Callable[[Ask, int], str], models: Sequence[str] = ("fake",), pause_s: float = 0.0, most: int | None = None
    ) -> None:
        """At most `most` asks at once; the next one is refused as by a full queue."""
        self._answer, self._names, self._pause_s, self._most = answer, tuple(models), pause_s, most
        self.asked: list[Ask] = []
        self.running = 0  # asks that are neither finished nor cancelled
        self._lock = threading.Lock()

    def models(self) -> tuple[ServedModel, ...]:
        method = ("base", *("fake" for _ in self._names[1:]))
        return tuple(
            ServedModel(name, self._names[0], how, "instruction", ("instruction", "alpaca", "completion"), 4096, infills=True)
            for name, how in zip(self._names, method, strict=True)
        )

    def submit(self, ask: Ask, tell: Callable[[Piece], None]) -> Ticket:
        if ask.model not in self._names:
            raise UnknownModelError.of(ask.model, self._names)
        text = "".join(message.content for message in ask.messages) or ask.prompt
        words = len(text.split()) if isinstance(text, str) else len(text)
        if not text:
            raise UserError("the prompt is empty: give some text")
        if words >= 4096:
            raise TooLongError(f"the prompt has {words} tokens, and the model 4096 positions: shorten it")
        with self._lock:
            if self._most is not None and self.running >= self._most:
                raise BusyError(f"{self.running} requests are waiting already: try again later")
            self.running += 1
            self.asked.append(ask)
        ticket = _FakeTicket(words)
        threading.Thread(target=self._write, args=(ask, tell, ticket.cancelled), daemon=True).start()
        return ticket

    def close(self) -> None:
        """There is nothing to free."""

    def _write(self, ask: Ask, tell: Callable[[Piece], None], cancelled: threading.Event) -> None:
        try:
            for index in range(ask.decoding.n):
                text, finish = cut_at_stop(self._answer(ask, index), ask.stop)
                tokens = re.findall(r"\s*\S+|\s+$", text)
                if len(tokens) > ask.decoding.max_new_tokens:
                    tokens, finish = tokens[: ask.decoding.max_new_tokens], "length"
                for number, token in enumerate(tokens, 1):
                    if cancelled.wait(self._pause_s):
                        return
                    top = tuple((token, 0.0) for _ in range(ask.logprobs or 0))
                    tell(Piece(index, token, "", number, () if ask.logprobs is None else (TokenLogprob(token, 0.0, top),)))
                tell(Piece(index, "", finish or "eos", len(tokens)))
        finally:
            with self._lock:
                self.running -= 1


class _FakeTicket:
    def __init__(self, prompt_tokens: int) -> None:
        self.prompt_tokens, self.cancelled = prompt_tokens, threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()
