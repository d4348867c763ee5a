"""An engine for any model behind an OpenAI-compatible server: hosted, vLLM, Ollama, llama.cpp, codetune's own.

    engine = OpenAIEngine(Server("http://localhost:8000/v1"), "my-model", "chat")
    answers = answer(engine, benchmark, make_template("chat", MESSAGES), DecodingConfig())
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.fake import cut_at_stop
from codetune.generate.request import TOO_LONG, Generated, Report, Request
from codetune.generate.server import RefusedError, Server
from codetune.records import Json

CHAT, COMPLETIONS = "/chat/completions", "/completions"
MESSAGES = "{{ messages | tojson }}"  # in the place of a chat template: the server has its own, and is sent the turns
_STOPS = 4  # OpenAI allows no more

Item = TypeVar("Item")
Result = TypeVar("Result")


class OpenAIEngine:
    """Asks the server for each request, `concurrency` of them at once. `endpoint` is "chat" or "completions".

    Stop sequences are cut here as well: a server may ignore them. One that gives fewer choices than asked for is asked again, with
    another seed; one that refuses several choices or many stop sequences is asked for one choice, with the first four.
    """

    name = "openai"

    def __init__(self, server: Server, model: str, endpoint: str, concurrency: int = 8) -> None:
        self.server, self.model, self.endpoint, self.concurrency = server, model, endpoint, concurrency
        self._plain = False  # the server wants one choice and few stop sequences

    def room(self, request: Request) -> None:
        """Only the server knows its tokens and its context."""

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        """All continuations in order, reported request by request. Raises UserError where the server cannot be asked."""
        made: dict[int, list[Generated]] = {}
        for place, answers in _in_threads(lambda each: self._answers(each, decoding), requests, self.concurrency):
            made[place] = answers
            if report:
                report(answers)
        return [one for place in range(len(requests)) for one in made[place]]

    def _answers(self, request: Request, decoding: DecodingConfig) -> list[Generated]:
        made: list[Generated] = []
        try:
            while len(made) < request.n:
                made += self._ask(request, decoding, len(made))
        except RefusedError as refused:
            if not refused.too_long:
                raise UserError(f"problem {request.task_id}: {refused}") from None
            return [Generated(request.task_id, index, "", TOO_LONG, 0) for index in range(request.n)]
        return made

    def _ask(self, request: Request, decoding: DecodingConfig, first: int) -> list[Generated]:
        """One or more of the request's continuations, from index `first` on."""
        body = self._body(request, decoding, first)
        path = CHAT if self.endpoint == "chat" else COMPLETIONS
        try:
            found = self.server.post(path, body)
        except RefusedError as refused:
            if refused.too_long or plain(body) == body:
                raise
            found = self.server.post(path, plain(body))
            self._plain = True
        return self._read(found, request, first)

    def _body(self, request: Request, decoding: DecodingConfig, first: int) -> Json:
        turns = json.loads(request.prompt) if request.has_special else [{"role": "user", "content": request.prompt}]
        body: Json = {
            "model": self.model, "n": request.n - first, "temperature": decoding.temperature, "top_p": decoding.top_p,
            "max_tokens": decoding.max_new_tokens, "seed": decoding.seed + first,
        }  # fmt: skip
        body |= {"messages": turns} if self.endpoint == "chat" else {"prompt": request.prompt}
        body |= {"stop": list(request.stop)} if request.stop else {}
        return plain(body) if self._plain else body

    def _read(self, found: Json, request: Request, first: int) -> list[Generated]:
        """The choices of an answer. Its tokens are counted together, so each choice is given an equal share; 0 where none are counted."""
        choices = found.get("choices")
        if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
            shown = self.server.clean(json.dumps(found))
            raise UserError(f"problem {request.task_id}: {self.server.url} answered without choices: {shown}")
        usage = found.get("usage")
        tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
        share, rest = divmod(tokens if isinstance(tokens, int) else 0, len(choices))
        made = []
        for number, choice in enumerate(choices[: request.n - first]):
            text, stopped = cut_at_stop(_text(choice, self.endpoint), request.stop)
            finish = stopped or finish_of(choice, request.stop)
            made.append(Generated(request.task_id, first + number, text, finish, share + (number < rest)))
        return made


def plain(body: Json) -> Json:
    """The request for one choice, with few stop sequences."""
    return body | {"n": 1} | ({"stop": body["stop"][:_STOPS]} if "stop" in body else {})


def _text(choice: Json, endpoint: str) -> str:
    """Empty where there is none: a chat that only thought, or called a tool, has no content."""
    text = (choice.get("message") or {}).get("content") if endpoint == "chat" else choice.get("text")
    return text if isinstance(text, str) else ""


def finish_of(choice: Json, stops: Sequence[str]) -> str:
    """`Generated.finish`, from a server that calls both EOS and a stop sequence "stop"; vLLM adds which sequence it was, null for EOS.

    Where none is named, it was a stop sequence if any were asked for. What has no name here, as "content_filter", keeps its own.
    """
    reason = choice.get("finish_reason") or ""
    if reason != "stop":
        return str(reason)
    return "stop" if stops and choice.get("stop_reason", "unknown") is not None else "eos"


def _outcome(work: Callable[[Item], Result], place: int, item: Item) -> tuple[int, Result] | Exception:
    try:
        return place, work(item)
    except Exception as error:  # raised again by who waits for it
        return error


def _in_threads(work: Callable[[Item], Result], items: Sequence[Item], count: int) -> Iterator[tuple[int, Result]]:
    """Place and result of each item, as they come. The first exception is raised here, and ends the rest.

    The threads are daemons: after Ctrl-C, or a fault, no one waits for the answers that are still under way.
    """
    waiting = deque(enumerate(items))
    done: SimpleQueue[tuple[int, Result] | Exception] = SimpleQueue()

    def take() -> None:
        with contextlib.suppress(IndexError):  # nothing is waiting any more
            while True:
                done.put(_outcome(work, *waiting.popleft()))

    for _ in range(min(count, len(items))):
        threading.Thread(target=take, daemon=True).start()
    try:
        for _ in items:
            result = done.get()
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        waiting.clear()
