"""Mending for the page: rounds in a thread, answers on the event loop, all of it told as events and given up when the page is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from starlette.types import Receive

from codetune.generate.live import Ask, LiveEngine
from codetune.mending import Round, best, decoding_of, mend, patch
from codetune.records import Json, Message, Problem
from codetune.score.execution import Checker
from codetune.serve.crew import Crew
from codetune.serve.errors import as_protocol
from codetune.serve.writing import GoneError, Writing


class Mending:
    """One program that is mended."""

    def __init__(self, engine: LiveEngine, ask: Ask, receive: Receive, timeout_s: float) -> None:
        """`ask` says by whom, and how the first answer is written."""
        self._engine, self._ask, self._receive = engine, ask, receive
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + timeout_s
        self._told: asyncio.Queue[Json | None] = asyncio.Queue()
        self._writing: Future[str] | None = None
        self._asked = 0
        self._is_over = False

    def begin(self, crew: Crew, code: str, problem: Problem, checker: Checker, rounds: int) -> None:
        """Raises BusyError where too many are being mended."""
        crew.submit(lambda: self._mend(code, problem, checker, rounds))

    async def events(self) -> AsyncIterator[Json]:
        while (event := await self._told.get()) is not None:
            yield event

    def cancel(self) -> None:
        """Give it up: the thread ends with its next question."""
        self._is_over = True
        if self._writing is not None:
            self._writing.cancel()

    def _mend(self, code: str, problem: Problem, checker: Checker, rounds: int) -> None:
        """In a thread of the crew's."""
        tried, message = list[Round](), ""
        try:
            if self._is_over:
                return
            for one in mend(code, problem, self._answer, checker, rounds):
                tried.append(one)
                self._tell(_shown(one))
            message = _outcome(tried)
        except (CancelledError, GoneError):
            return
        except Exception as error:
            message = as_protocol(error).message
        finally:
            if message:
                found = best(tried) if tried else None
                after = found.program if found else code
                passed = found is not None and found.passed
                self._tell({"type": "done", "passed": passed, "code": after, "diff": patch(code, after), "message": message})
            self._tell(None)

    def _answer(self, messages: tuple[Message, ...]) -> str:
        """What the model writes. In the thread, which waits."""
        self._writing = asyncio.run_coroutine_threadsafe(self._write(messages), self._loop)
        if self._is_over:
            self._writing.cancel()
        return self._writing.result()

    async def _write(self, messages: tuple[Message, ...]) -> str:
        ask = replace(self._ask, messages=messages, decoding=decoding_of(self._asked + 1, self._ask.decoding))
        async with Writing(self._engine, [ask], self._receive, self._deadline - self._loop.time()) as writing:
            self._asked += 1
            text = list[str]()
            while writing.going:
                for piece in await writing.more():
                    text.append(piece.text)
                    if piece.text:
                        self._told.put_nowait({"type": "piece", "text": piece.text})
        return "".join(text)

    def _tell(self, event: Json | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
            self._loop.call_soon_threadsafe(self._told.put_nowait, event)


def _shown(one: Round) -> Json:
    result = one.result
    return {
        "type": "round", "number": one.number, "code": one.program, "diff": one.diff, "verdict": result.verdict.value,
        "detail": result.detail, "tests_passed": result.tests_passed, "tests_run": result.tests_run, "remark": one.remark,
    }  # fmt: skip


def _outcome(tried: list[Round]) -> str:
    last = tried[-1]
    if last.passed:
        return "the program passes the tests as it is" if last.number == 0 else f"mended in round {last.number}: it passes the tests"
    result = best(tried).result
    return f"not mended in {last.number} rounds: the best try passes {result.tests_passed} of {result.tests_run} tests"
