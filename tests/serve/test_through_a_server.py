"""A live engine behind our own server, asked through the live engine for servers: the same pieces, errors and cancelling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask, BusyError, Piece, TooLongError, UnknownModelError, stream, write
from codetune.generate.live_server import LiveServer
from codetune.generate.server import Server
from codetune.records import Message
from codetune.serve.assistant import Assistant
from codetune.serve.settings import ServeSettings
from tests.serve.running_server import serving

KEY = "a-key-of-the-server"
QUESTION = (Message("system", "Be short."), Message("user", "Count to five."))


def told(ask: Ask, index: int) -> str:
    return f"one two three\nfour {ask.model} {index}"


@contextmanager
def behind(answer: Callable[[Ask, int], str] = told, key: str = KEY, **more: Any) -> Iterator[tuple[FakeLiveEngine, LiveServer]]:
    fake = FakeLiveEngine(answer, ("base", "lora"), **more)
    with serving(Assistant(fake, ServeSettings(api_key=KEY))) as url, closing(LiveServer(Server(f"{url}/v1", key, live=True))) as engine:
        yield fake, engine


@pytest.mark.parametrize(
    "ask",
    [
        Ask("lora", QUESTION),
        Ask("base", QUESTION, decoding=DecodingConfig(temperature=0.5, n=3, seed=7, top_p=0.9, max_new_tokens=3)),
        Ask("base", QUESTION, stop=("three", "x", "y", "z", "w")),
        Ask("base", prompt="def f(x):\n", suffix="\n    return y", logprobs=1),
        Ask("base", prompt=(5, 6, 7), logprobs=0),
        Ask("base", QUESTION, logprobs=1, prompt_style="alpaca"),
    ],
)
def test_what_was_asked_arrives_and_what_was_told_comes_back(ask: Ask) -> None:
    with behind() as (fake, engine):
        found = list(stream(engine, ask))
        direct = list(stream(fake, ask))
    assert fake.asked[0] == ask
    for index in range(ask.decoding.n):
        mine, theirs = ([piece for piece in pieces if piece.index == index] for pieces in (found, direct))
        assert "".join(piece.text for piece in mine) == "".join(piece.text for piece in theirs)
        assert [each for piece in mine for each in piece.logprobs] == [each for piece in theirs for each in piece.logprobs]
        assert [piece.finish for piece in mine][-1] == theirs[-1].finish
        assert sum(bool(piece.finish) for piece in mine) == 1
    if ask.decoding.n == 1:
        assert found[-1].num_tokens == direct[-1].num_tokens


def test_the_models_are_those_behind_it() -> None:
    with behind() as (fake, engine):
        assert engine.models() == fake.models()


def test_refusals_are_of_their_kind() -> None:
    with behind(most=0) as (_, engine):
        with pytest.raises(BusyError, match="answers 429"):
            write(engine, Ask("base", QUESTION))
        with pytest.raises(UnknownModelError, match="did you mean 'lora'"):
            write(engine, Ask("loar", QUESTION))
        with pytest.raises(TooLongError, match="answers 400"):
            write(engine, Ask("base", (Message("user", "word " * 5000),)))
    with pytest.raises(UserError, match=r"refuses the key in OPENAI_API_KEY \(401\)"), behind(key="wrong"):
        pass


def test_pieces_come_before_the_answer_is_whole_and_cancelling_frees_its_place() -> None:
    """The answer would take an hour: whoever waited for all of it would not get here."""
    with behind(lambda ask, index: "word " * 36_000, pause_s=0.1) as (fake, engine):
        first, pieces = threading.Event(), list[Piece]()

        def tell(piece: Piece) -> None:
            pieces.append(piece)
            first.set()

        tickets = [engine.submit(Ask("base", QUESTION, decoding=DecodingConfig(max_new_tokens=1024)), tell) for _ in range(3)]
        assert first.wait(20)
        assert fake.running == 3
        for ticket in tickets:
            ticket.cancel()
        said = len(pieces)
        wait_until(lambda: fake.running == 0)
        assert len(pieces) == said
        abandoned = stream(engine, Ask("base", QUESTION))
        assert next(abandoned).text
        abandoned.close()
        wait_until(lambda: fake.running == 0)
        engine.submit(Ask("base", QUESTION), lambda piece: None)
        engine.close()
        wait_until(lambda: fake.running == 0)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
