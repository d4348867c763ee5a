"""Answers that survive a kill: what is kept, what is asked for again, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate import FakeEngine, Generated, Report, Request
from codetune.generate.kept import KeptEngine

REQUESTS = [Request(f"t/{number}", "x" * number, n=2) for number in range(5)]
DECODING = DecodingConfig(n=2, temperature=1)


class StoppingEngine:
    """A fake engine that reports request by request, knows what it was asked, and is interrupted after some of them."""

    name = "stopping"

    def __init__(self, answers: int = 99) -> None:
        self.asked: list[str] = []
        self.answers = answers

    def room(self, request: Request) -> int:
        return 7

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        made = []
        for request in requests:
            if len(self.asked) == self.answers:
                raise KeyboardInterrupt
            self.asked.append(request.task_id)
            made += FakeEngine(lambda each, index: f"{each.task_id} {index}").generate([request], decoding, report)
        return made


def test_what_was_reported_before_a_kill_is_not_asked_for_again(tmp_path: Path) -> None:
    path, wanted = tmp_path / "s.partial", StoppingEngine().generate(REQUESTS, DECODING)
    with pytest.raises(KeyboardInterrupt):
        KeptEngine(StoppingEngine(answers=2), path, {"a": 1}).generate(REQUESTS, DECODING)
    with path.open("a") as file:
        file.write('{"seconds": 1, "batch": [{"task')  # cut short by the kill
    rest, reported = StoppingEngine(), list[list[str]]()
    resumed = KeptEngine(rest, path, {"a": 1})
    assert len(resumed.found) == 4
    assert resumed.generate(REQUESTS, DECODING, lambda made: reported.append([one.task_id for one in made])) == wanted
    assert rest.asked == ["t/2", "t/3", "t/4"]
    assert reported == [["t/0", "t/0", "t/1", "t/1"], ["t/2"] * 2, ["t/3"] * 2, ["t/4"] * 2]
    again = StoppingEngine()
    assert KeptEngine(again, path, {"a": 1}).generate(REQUESTS, DECODING) == wanted
    assert again.asked == []


def test_the_room_is_the_engines(tmp_path: Path) -> None:
    assert KeptEngine(StoppingEngine(), tmp_path / "s.partial", {}).room(REQUESTS[0]) == 7


def test_answers_of_other_settings_are_kept_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.partial"
    KeptEngine(StoppingEngine(), path, {"top_p": 1.0}).generate(REQUESTS, DECODING)
    before = path.read_text()
    with pytest.raises(UserError, match=r"other settings \(top_p was 1.0, now 0.9\): choose another --out"):
        KeptEngine(StoppingEngine(), path, {"top_p": 0.9})
    assert path.read_text() == before
