"""`POST /api/run`, `/api/test`, `/api/explain` and `/api/mend`: what can be done with a program that the page shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import APIRouter, Request
from pydantic import Field

from codetune.data.given_tests import read_text
from codetune.generate.live import Ask
from codetune.mending import explain
from codetune.records import Json, Problem, ProgramResult, StdioTest, Verdict
from codetune.serve.api import PAGE, errors
from codetune.serve.asking import Body, Decoding, find_models
from codetune.serve.assistant import Assistant
from codetune.serve.crew import Crew
from codetune.serve.errors import as_protocol, invalid
from codetune.serve.events import STREAM, EventStream, lines_of
from codetune.serve.mends import Mending
from codetune.serve.workbench import RUN_TIMEOUT_S, Workbench
from codetune.serve.writing import GoneError, Writing

_MENDS_AT_ONCE, _MENDS_WAITING = 4, 16
_MOST_ARGUMENTS = 100


class RunBody(Body):
    code: str
    stdin: str = ""
    arguments: list[str] = Field(default=[], max_length=_MOST_ARGUMENTS)


class TestBody(Body):
    code: str
    tests: str
    entry_point: str = ""


class ExplainBody(Body):
    code: str
    error: str
    model: str
    prompt_style: str | None = None
    decoding: Decoding = Decoding()


class MendBody(Body):
    code: str
    tests: str
    model: str
    question: str = ""  # what the program is for
    entry_point: str = ""
    rounds: int | None = Field(None, ge=1)
    stdin: str | None = None
    prompt_style: str | None = None
    decoding: Decoding = Decoding()


def program_routes(assistant: Assistant, bench: Workbench) -> APIRouter:
    routes, settings = APIRouter(responses=errors(*PAGE)), assistant.settings
    mends = Crew("mends", _MENDS_AT_ONCE, _MENDS_WAITING)

    @routes.post("/api/run")
    async def run(body: RunBody) -> Json:
        await require_sandbox(bench)
        result = await asyncio.wrap_future(bench.run(body.code, body.stdin, _arguments(body.arguments)))
        shown = {name: getattr(result, name) for name in ("detail", "stdout", "stderr", "seconds")}
        return {"verdict": result.verdict.value, **shown, "tier": bench.tier}

    @routes.post("/api/test")
    async def test(body: TestBody) -> Json:
        await require_sandbox(bench)
        problem = await asyncio.to_thread(problem_of, body.tests, body.entry_point, body.code)
        result = await asyncio.wrap_future(bench.test(body.code, problem))
        return shown_result(result) | {"stdout": result.stdout, "seconds": result.seconds, "tier": bench.tier}

    @routes.post("/api/explain", responses=STREAM)
    async def explained(body: ExplainBody, request: Request) -> EventStream:
        (model,) = await find_models(assistant.engine, [body.model], body.prompt_style)
        why = explain(body.code, ProgramResult(_verdict(body.error), body.error))
        ask = Ask(model.name, why, decoding=body.decoding.config(settings), prompt_style=body.prompt_style)
        writing = Writing(assistant.engine, [ask], request.receive, settings.timeout_s)
        await writing.begin()
        return EventStream(lines_of(_pieces(writing)), writing)

    @routes.post("/api/mend", responses=STREAM)
    async def mended(body: MendBody, request: Request) -> EventStream:
        await require_sandbox(bench)
        (model,) = await find_models(assistant.engine, [body.model], body.prompt_style)
        problem = await asyncio.to_thread(problem_of, body.tests, body.entry_point, body.code, body.stdin)
        problem = replace(problem, instruction=body.question)
        ask = Ask(model.name, decoding=body.decoding.config(settings), prompt_style=body.prompt_style)
        mending = Mending(assistant.engine, ask, request.receive, settings.timeout_s)
        mending.begin(mends, body.code, problem, bench, min(body.rounds or settings.rounds, settings.rounds))
        return EventStream(lines_of(mending.events()), mending)

    return routes


def problem_of(tests: str, entry_point: str, code: str, stdin: str | None = None) -> Problem:
    """What the tests that somebody typed ask of a program; with `stdin`, they are what it should print. Raises UserError.

    No text may take more of the sandbox's time than a run may.
    """
    if stdin is not None:
        return Problem("page", tests=(StdioTest(stdin, tests),), timeout_s=RUN_TIMEOUT_S)
    problem = read_text(tests, "the tests", Problem("page", entry_point=entry_point), None, code)
    return replace(problem, timeout_s=min(problem.timeout_s, RUN_TIMEOUT_S))


def shown_result(result: ProgramResult) -> Json:
    return {
        "verdict": result.verdict.value, "detail": result.detail, "tests_passed": result.tests_passed, "tests_run": result.tests_run,
    }  # fmt: skip


async def require_sandbox(bench: Workbench) -> None:
    """Raises ProtocolError where this machine has no sandbox."""
    if missing := await asyncio.to_thread(lambda: bench.missing):
        raise invalid(f"programs cannot be run here: {missing}", None, "no_sandbox")


def _arguments(given: list[str]) -> list[str]:
    if any("\0" in each for each in given):
        raise invalid("an argument of a program has no NUL character in it", "arguments")
    return given


def _verdict(error: str) -> Verdict:
    """The kind of failure that an error's text is of: what it says is all that is known."""
    if error.startswith(("SyntaxError", "IndentationError", "TabError")):
        return Verdict.SYNTAX_ERROR
    return Verdict.WRONG_ANSWER if error.startswith("assert ") else Verdict.EXCEPTION


async def _pieces(writing: Writing) -> AsyncIterator[Json]:
    """What an answer is told as."""
    try:
        while writing.going:
            for piece in await writing.more():
                if piece.text:
                    yield {"type": "piece", "text": piece.text}
    except GoneError:
        return
    except Exception as error:
        yield {"type": "error", "message": as_protocol(error).message}
    yield {"type": "done"}
