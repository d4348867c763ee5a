"""A command or a function in a process of its own that need not load torch, which takes seconds: it is forked from one that has.

It is waited for, signalled and killed as any other, and what it held and said is its own. That the real command starts is tested beside it:
`codetune train --nproc 2`, `serve`, studies and dry runs start theirs anew.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "transformers", "codetune.cli.train", "codetune.train.search", "tests.exactness.tortured"])


class Forked:
    """`function(*arguments)` in a process, with the environment and the folder that there are now."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._said = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        self._process = SERVER.Process(target=_begin, args=(self._said, dict(os.environ), os.getcwd(), function, arguments))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    def runs(self) -> bool:
        return self._process.exitcode is None

    def send_signal(self, number: int) -> None:
        assert self.runs()
        os.kill(self.pid, number)

    def ended(self, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """How it ended, and what it said; after `timeout_s` it is killed, and that is a failure."""
        self._process.join(timeout_s)
        in_time = not self.runs()
        if not in_time:
            self._process.kill()
            self._process.join()
        out, error = (path.read_text() if path.exists() else "" for path in self._said)
        assert in_time, f"not done in {timeout_s} s: {error[-2000:]}"
        return subprocess.CompletedProcess([], self._process.exitcode or 0, out, error)


def codetune(*arguments: str) -> None:
    """The `codetune` command, for `Forked`."""
    from codetune.cli.main import main

    warnings.simplefilter("ignore")
    sys.argv = ["codetune", *arguments]
    main()


def bench(*arguments: str) -> None:
    """`python -m bench`, for `Forked`."""
    from bench.__main__ import main

    sys.exit(main(list(arguments)))


def _begin(said: list[Path], environment: dict[str, str], folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    for number, path in enumerate(said, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    function(*arguments)
