"""`POST /api/feedback`: thumbs, votes, edits and mended programs, into the history and, where asked for, into what is learned from."""

from __future__ import annotations

import asyncio
import hashlib
import time
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi import Body as Sent
from pydantic import Field

from codetune.prompts.mending import Fault, in_words, question, text_of, wish
from codetune.records import CallTest, Json, Problem, StdioTest, Test, Verdict
from codetune.serve.api import PAGE, errors
from codetune.serve.asking import Body, Decoding, find_models
from codetune.serve.assistant import Assistant
from codetune.serve.errors import invalid
from codetune.serve.feedback import Feedback
from codetune.serve.history import Exchange, History
from codetune.serve.programs import problem_of, require_sandbox
from codetune.serve.workbench import Workbench

_SHOWN_TESTS = 3  # in the wish that a mended pair begins with


class Rate(Body):
    kind: Literal["rate"]
    answer_id: str
    rating: Literal[1, -1] | None


class Vote(Body):
    kind: Literal["vote"]
    exchange_id: str
    choice: Literal[0, 1, "tie", "neither"]


class Edit(Body):
    kind: Literal["edit"]
    answer_id: str
    content: str | None


class Mended(Body):
    kind: Literal["mend"]
    question: str = ""
    code: str
    tests: str
    error: str = ""
    mended: str
    model: str
    entry_point: str = ""
    stdin: str | None = None
    prompt_style: str | None = None
    decoding: Decoding | None = None


class Enable(Body):
    enabled: bool


Judgement = Annotated[Rate | Vote | Edit | Mended, Field(discriminator="kind")]


def feedback_routes(feedback: Feedback, assistant: Assistant, history: History, bench: Workbench) -> APIRouter:
    routes = APIRouter(responses=errors(*PAGE))

    @routes.post("/api/feedback")
    async def judge(body: Annotated[Judgement, Sent()]) -> Json:
        if isinstance(body, Mended):
            return {"kept": feedback.enabled and feedback.add(await _mended_row(body, assistant, bench))}
        return await asyncio.to_thread(_noted, body, history, feedback)

    @routes.post("/api/feedback/enable")
    def enable(body: Enable) -> Json:
        feedback.enable(body.enabled)
        return {"enabled": feedback.enabled, "path": str(feedback.path)}

    return routes


def _noted(body: Rate | Vote | Edit, history: History, feedback: Feedback) -> Json:
    """Into the history in any case. After a vote it is known who wrote what."""
    exchange: Exchange
    if isinstance(body, Rate):
        exchange = history.rate(body.answer_id, body.rating)
    elif isinstance(body, Edit):
        exchange = history.edit(body.answer_id, body.content)
    else:
        exchange = history.choose(body.exchange_id, body.choice)
    kept = feedback.note(exchange)
    return {"kept": kept} | ({"models": [answer.asked.model for answer in exchange.answers]} if isinstance(body, Vote) else {})


async def _mended_row(body: Mended, assistant: Assistant, bench: Workbench) -> Json:
    """A wish and the program that fulfils it. Raises ProtocolError where the sandbox does not find that the tests were failed before and
    pass now: what nothing has shown to be right is not learned."""
    (model,) = await find_models(assistant.engine, [body.model])
    await require_sandbox(bench)
    problem = await asyncio.to_thread(problem_of, body.tests, body.entry_point, body.code, body.stdin)
    before, after = [await asyncio.wrap_future(bench.test(program, problem)) for program in (body.code, body.mended)]
    if after.verdict is not Verdict.PASSED:
        raise invalid(f"the mended program does not pass the tests ({after.verdict.value}: {after.detail}): it is not kept", "mended")
    if before.verdict is Verdict.PASSED:
        raise invalid("the given program passes the tests: there was nothing to mend", "code")
    texts = tuple(text_of(test, problem.entry_point) for test in problem.tests[:_SHOWN_TESTS])
    error = body.error or in_words(before)
    asked = wish(Fault(body.code, error, texts, problem.entry_point, body.question))
    decoding = None if body.decoding is None else body.decoding.model_dump()
    style = body.prompt_style or model.prompt_style
    return {
        "id": f"mend-{hashlib.sha256(f'{body.code}/{body.tests}'.encode()).hexdigest()[:16]}", "kind": "mend",
        "messages": [{"role": "user", "content": question(asked).content}, {"role": "assistant", "content": body.mended}],
        "instruction": asked.instruction, "input": asked.input, "entry_point": problem.entry_point,
        "tests": [_as_row(test, problem) for test in problem.tests], "rejected": [{"content": body.code, "model": None, "why": error}],
        "time": time.time(), "model": model.name, "base": model.base, "adapter": None if model.method == "base" else model.name,
        "method": model.method, "prompt_style": style, "decoding": decoding, "version": version("codetune"),
    }  # fmt: skip


def _as_row(test: Test, problem: Problem) -> Json | str:
    """As `codetune.data.own` reads it; what sets the tests up goes with each."""
    match test:
        case CallTest(arguments, output):
            return {"input": list(arguments), "output": output}
        case StdioTest(stdin, stdout):
            return {"stdin": stdin, "stdout": stdout}
    code = text_of(test, problem.entry_point)
    return f"{problem.setup}\n{code}" if problem.setup else code
