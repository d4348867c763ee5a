"""An engine without a model: answers come from a table or a function. Ships for tests, yours included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from codetune.generate.request import Generated, Report, Request

if TYPE_CHECKING:
    from codetune.config import DecodingConfig


class FakeEngine:
    """Answers by `task_id`, or by a function of (request, index); what is not in the table gets an empty answer."""

    name = "fake"

    def __init__(self, answers: Mapping[str, str] | Callable[[Request, int], str]) -> None:
        self._answer = answers if callable(answers) else lambda request, index: answers.get(request.task_id, "")

    def room(self, request: Request) -> int | None:
        return None

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        made = []
        for request in requests:
            for index in range(request.n):
                text, finish = cut_at_stop(self._answer(request, index), request.stop)
                made.append(Generated(request.task_id, index, text, finish or "eos", len(text.split())))
        if report:
            report(made)
        return made


def cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, str]:
    """The text before its first stop sequence, and "stop" if there was one.

    >>> cut_at_stop("return 1\\ndef g", ("\\ndef ",))
    ('return 1', 'stop')
    """
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return (text[: min(places)], "stop") if places else (text, "")
