"""A model behind an OpenAI-compatible server, as `generate` and `evaluate` have it answer. Nothing here needs torch."""

from __future__ import annotations

import os
from collections.abc import Sequence

from codetune.cli.flags import AnswerFlags
from codetune.errors import UserError
from codetune.generate.openai import COMPLETIONS, MESSAGES, OpenAIEngine
from codetune.generate.server import Server
from codetune.prompts.template import Template, make_template
from codetune.records import Json, Problem

_KEY = "OPENAI_API_KEY"


class ServerAnswerer:
    """One model of one server.

    The rule for the endpoint: only the prompt style `chat` leaves it to the server to write turns around what is asked, and goes to
    /chat/completions; every other style is the whole text as the model shall see it, and goes to /completions. `--endpoint` overrides it.
    """

    def __init__(self, flags: AnswerFlags) -> None:
        """Looks for the server and the model. Raises UserError where there is none, or the key is refused."""
        self.server = server_of(flags.base_url, flags.api_key_env)
        self.model = _model(flags.model, self.server)
        self.asked, self.concurrency = flags.endpoint, flags.concurrency or 8
        self.identity: Json = {"model": self.model, "base_url": self.server.url}

    def usual_style(self, continues: bool) -> tuple[str, str]:
        """`completion` for code to go on with where the server has /completions, else `chat`, as far as `--endpoint` allows."""
        if self.asked == "chat":
            return "chat", "for --endpoint chat"
        if self.asked == "completions":
            return ("completion", "the problems are code to go on with") if continues else ("instruction", "for --endpoint completions")
        if not continues:
            return "chat", "a server's default"
        if self.server.accepts(COMPLETIONS, {"model": self.model, "prompt": "x =", "max_tokens": 1}):
            return "completion", "the problems are code to go on with"
        return "chat", "the server continues no text"

    def template(self, style: str, examples: Sequence[Problem]) -> Template:
        """Raises UserError for a style that the endpoint asked for cannot answer in."""
        if (self.asked, style) == ("completions", "chat"):
            raise UserError("--prompt-style chat goes with --endpoint chat: the server's turn marks are not known here; leave one out")
        if (self.asked, style) == ("chat", "completion"):
            raise UserError("--prompt-style completion goes with --endpoint completions: a chat does not go on with a text; leave one out")
        return make_template(style, MESSAGES if style == "chat" else None, examples)

    def engine(self, template: Template) -> OpenAIEngine:
        return OpenAIEngine(self.server, self.model, self._endpoint(template), self.concurrency)

    def settings(self, template: Template) -> Json:
        return {**self.identity, "endpoint": self._endpoint(template)}

    def _endpoint(self, template: Template) -> str:
        return self.asked or ("chat" if template.style == "chat" else "completions")


def server_of(base_url: str | None, api_key_env: str | None, live: bool = False) -> Server:
    """The server of the flags, with the key from the environment. Raises UserError for an address or a variable that is none."""
    if base_url is None:
        raise UserError("--engine openai needs --base-url, the server's address, as in http://localhost:8000/v1")
    name = api_key_env or _KEY
    if api_key_env and not os.environ.get(name):
        raise UserError(f"--api-key-env {name}: no such environment variable is set")
    return Server(base_url, os.environ.get(name, ""), name, live=live)


def _model(given: str, server: Server) -> str:
    """The model asked for, else the only one that the server has. Its list is asked for in any case: it shows that the server is there."""
    there = server.models()
    if given:
        return given
    if len(there) == 1:
        return there[0]
    known = f"{server.url} has {', '.join(there[:20])}" if there else f"{server.url} has no list of models, so give the name that it knows"
    raise UserError(f"--model is missing: {known}")
