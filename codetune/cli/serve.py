"""`codetune serve`: the tuned model behind a web page and an OpenAI-compatible server.

    codetune serve
    codetune serve --model codetune-base --adapter lora=runs/train-lora --adapter full=runs/train-full --port 8000
    CODETUNE_API_KEY=secret codetune serve --host 0.0.0.0 --allow-host models.example
"""

from __future__ import annotations

import os
import socket
import webbrowser
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from codetune.cli.flags import ServedFlags
from codetune.cli.live import ROWS, WAITING, open_live_engine
from codetune.cli.output import to_stderr
from codetune.cli.running import takes_flags
from codetune.errors import Terminated, UserError
from codetune.serve.app import make_app
from codetune.serve.assistant import Assistant
from codetune.serve.feedback import FILE as FEEDBACK
from codetune.serve.feedback import Feedback
from codetune.serve.history import FILE as HISTORY
from codetune.serve.history import History
from codetune.serve.settings import ServeSettings
from codetune.serve.workbench import Workbench

app = typer.Typer(add_completion=False)
KEY = "CODETUNE_API_KEY"


@dataclass(frozen=True, slots=True)
class ListenFlags:
    """Where a server listens, and whom it answers; each field is a flag."""

    host: Annotated[str, typer.Option(help=f"Where it listens. Beyond this machine it wants a key, in {KEY}.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one, and says which.")] = 8000
    allow_host: Annotated[list[str] | None, typer.Option(help="A name by which it may be called, besides --host.")] = None
    allow_origin: Annotated[list[str] | None, typer.Option(help="Another web page that may ask, as in https://editor.example.")] = None


@dataclass(frozen=True, slots=True)
class LimitFlags:
    """How much it takes on; each field is a flag."""

    batch_size: Annotated[int, typer.Option(min=1, help="Answers that are written at once: more is faster and takes more memory.")] = ROWS
    queue: Annotated[int, typer.Option(min=1, help="Answers that may wait; beyond that requests are refused with 429.")] = WAITING
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens, whatever a request asks for.")] = 1024
    max_body_bytes: Annotated[int, typer.Option(min=1000, help="The largest request.")] = 2_000_000
    timeout_s: Annotated[float, typer.Option(min=1, help="The longest that one request may take, in seconds.")] = 600.0

    def settings(self, where: ListenFlags) -> ServeSettings:
        """Raises UserError for an address that others can reach without a key."""
        return ServeSettings(
            host=where.host, port=where.port, api_key=os.environ.get(KEY) or None, allowed_hosts=tuple(where.allow_host or ()),
            allowed_origins=tuple(where.allow_origin or ()), max_new_tokens=self.max_new_tokens, max_body_bytes=self.max_body_bytes,
            timeout_s=self.timeout_s,
        )  # fmt: skip


@app.command()
@takes_flags
def serve(
    flags: ServedFlags,
    where: ListenFlags,
    limits: LimitFlags,
    folder: Annotated[Path, typer.Option(help="Where the page keeps its history, and feedback where that is switched on.")] = Path(
        "runs/assistant"
    ),
    runs: Annotated[Path, typer.Option(help="The folder whose runs and studies the page shows.")] = Path("runs"),
    feedback: Annotated[bool, typer.Option("--feedback", help="Keep ratings, votes and edits as data to tune on, in --folder.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve a model with its adapters: a web page at /, the OpenAI protocol at /v1. Ctrl-C ends it."""
    settings = limits.settings(where)
    say = to_stderr()
    with (
        _listening(where.host, where.port) as listening,
        closing(History(folder / HISTORY)) as history,
        closing(Workbench()) as workbench,
    ):
        if feedback:
            Feedback(folder / FEEDBACK, history).enable(True)
        with say.status(f"loading {flags.asked_model or flags.base_url}"):
            engine = open_live_engine(flags, limits.batch_size, limits.queue)
        with closing(engine):
            assistant = Assistant(engine, settings, folder, runs, workbench, history=history)
            address = _address(where.host, listening)
            say.print(f"{', '.join(model.name for model in engine.models())}: {address} (page), {address}/v1 (OpenAI protocol)")
            if open_page:
                webbrowser.open(address)
            _serve(assistant, listening)


def _listening(host: str, port: int) -> socket.socket:
    """Before the model is loaded: an address that is taken should be known at once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server((host, port), family=found[0][0], backlog=2048)
    except OSError as error:
        raise UserError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port (0 takes a free one)") from None


def _address(host: str, listening: socket.socket) -> str:
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}"


def _serve(assistant: Assistant, listening: socket.socket) -> None:
    """Until Ctrl-C or SIGTERM, which is how a server ends."""
    config = uvicorn.Config(make_app(assistant), log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except (KeyboardInterrupt, Terminated):
        return
