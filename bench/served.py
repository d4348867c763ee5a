"""The server in a process of its own, with a fake engine behind it, or one that runs already.

python -m bench.served QUEUE WORDS PAUSE_S     prints its address and serves until it is ended
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.turns import CHECKOUT
from codetune.errors import UserError


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: its address without a path, one of its models, and its process where it is known."""

    url: str
    model: str
    process: psutil.Process | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="a server that runs already, as in http://127.0.0.1:8000; else one with a fake engine is started")
    parser.add_argument("--model", default="fake", help="the model to ask of it")
    parser.add_argument("--pid", type=int, help="its process, to measure its memory")


@contextlib.contextmanager
def server(options: argparse.Namespace, queue: int, words: int, pause_s: float) -> Iterator[Served]:
    """The one that `options` name, or a new one: at most `queue` asks at once, answers of so many words, so long a pause between two."""
    if options.url:
        yield Served(options.url.rstrip("/").removesuffix("/v1"), options.model, psutil.Process(options.pid) if options.pid else None)
        return
    command = [sys.executable, "-m", "bench.served", str(queue), str(words), str(pause_s)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as child:
        try:
            found = re.match(r"http://\S+", child.stdout.readline() if child.stdout else "")
            if found is None:
                raise UserError("the server did not start: see above")
            yield Served(found[0], "fake", psutil.Process(child.pid))
        finally:
            child.terminate()


def main(queue: int, words: int, pause_s: float) -> None:
    import uvicorn

    from codetune.generate.fake_live import FakeLiveEngine
    from codetune.serve.app import make_app
    from codetune.serve.assistant import Assistant
    from codetune.serve.history import FILE, History
    from codetune.serve.workbench import Workbench

    engine = FakeLiveEngine(lambda ask, index: "word " * words, ("fake", "other"), pause_s, queue)
    with (
        socket.socket() as listening, tempfile.TemporaryDirectory() as name, contextlib.closing(History(Path(name) / FILE)) as history,
        contextlib.closing(Workbench()) as workbench,
    ):  # fmt: skip
        assistant = Assistant(engine, folder=Path(name), runs_root=Path(name), workbench=workbench, history=history)
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(make_app(assistant), log_level="error", timeout_graceful_shutdown=1)).run([listening])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
