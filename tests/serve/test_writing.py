"""The bridge between an engine's threads and an event loop, at its edges."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from codetune.config import DecodingConfig
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask, BusyError, Piece, Ticket, TokenLogprob
from codetune.serve.writing import GoneError, TimeLimitError, Writing


def ask(n: int = 1, **more: Any) -> Ask:
    return Ask("fake", (), "go", decoding=DecodingConfig(n=n, max_new_tokens=5000), **more)


async def stays() -> Any:
    """A client that does not go away."""
    await asyncio.Event().wait()


async def goes() -> Any:
    return {"type": "http.disconnect"}


async def until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come true")


async def drain(writing: Writing) -> None:
    while writing.going:
        await writing.more()


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]


def test_a_slow_reader_gets_one_piece_for_each_answer_and_nothing_is_lost() -> None:
    engine = FakeLiveEngine(lambda asked, index: f"{index} " * 3000)

    async def work() -> None:
        async with Writing(engine, [ask(2, logprobs=0), ask(1, logprobs=0)], stays, 60) as writing:
            await until(lambda: engine.running == 0)  # all was told before the first look
            pieces = await writing.more()
            assert [piece.index for piece in sorted(pieces, key=lambda piece: piece.index)] == [0, 1, 2]
            for piece in pieces:
                assert piece.text == f"{piece.index if piece.index < 2 else 0} " * 3000
                assert (piece.finish, len(piece.logprobs)) == ("eos", piece.num_tokens)
            assert writing.going == 0
            assert writing.prompt_tokens == 2

    run(work)


def test_silence_is_an_empty_list() -> None:
    engine = FakeLiveEngine(lambda asked, index: "one two", pause_s=0.5)

    async def work() -> None:
        async with Writing(engine, [ask()], stays, 60) as writing:
            assert await writing.more(0.01) == []
            assert writing.going == 1

    run(work)
    assert _falls_silent(engine)


def test_who_goes_away_and_what_takes_too_long_are_given_up() -> None:
    for receive, timeout_s, error in ((goes, 60, GoneError), (stays, 0.1, TimeLimitError)):
        engine = FakeLiveEngine(lambda asked, index: "word " * 1000, pause_s=0.05)

        async def work(engine: Any = engine, receive: Any = receive, timeout_s: float = timeout_s, error: Any = error) -> None:
            async with Writing(engine, [ask()], receive, timeout_s) as writing:
                with pytest.raises(error):
                    await drain(writing)

        run(work)
        assert _falls_silent(engine)


def test_one_ask_that_is_refused_gives_up_the_others() -> None:
    engine = FakeLiveEngine(lambda asked, index: "word " * 1000, pause_s=0.05, most=2)

    async def work() -> None:
        with pytest.raises(BusyError):
            await Writing(engine, [ask(), ask(), ask()], stays, 60).begin()

    run(work)
    assert _falls_silent(engine)


class SlowToTake(FakeLiveEngine):
    """Takes an ask only when it is let."""

    def __init__(self) -> None:
        super().__init__(lambda asked, index: "word " * 1000, pause_s=0.05)
        self.entered, self.let = threading.Event(), threading.Event()

    def submit(self, asked: Ask, tell: Callable[[Piece], None]) -> Ticket:
        self.entered.set()
        self.let.wait(30)
        return super().submit(asked, tell)


def test_an_ask_that_is_taken_after_it_was_given_up_does_not_run_on() -> None:
    engine = SlowToTake()

    async def work() -> None:
        begin = asyncio.create_task(Writing(engine, [ask(), ask()], stays, 60).begin())
        await until(engine.entered.is_set)
        begin.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begin
        engine.let.set()

    run(work)
    assert _falls_silent(engine)
    assert len(engine.asked) == 1  # the second one was not even asked


def test_pieces_keep_their_tokens_when_joined() -> None:
    told: list[Callable[[Piece], None]] = []

    class Dumb(FakeLiveEngine):
        def submit(self, asked: Ask, tell: Callable[[Piece], None]) -> Ticket:
            told.append(tell)
            return super().submit(asked, lambda piece: None)

    async def work() -> None:
        async with Writing(Dumb(lambda asked, index: "x"), [ask()], stays, 60) as writing:
            token = TokenLogprob("a", -1.0)
            for number in (1, 2):
                told[0](Piece(0, "a", "", number, (token,)))
            assert await writing.more() == [Piece(0, "aa", "", 2, (token, token))]

    run(work)


def _falls_silent(engine: FakeLiveEngine) -> bool:
    for _ in range(500):
        if engine.running == 0:
            return True
        threading.Event().wait(0.01)
    return False
