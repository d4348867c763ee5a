"""The processes that a study's jobs run in: forked from one that has loaded what they share (`codetune.study.nursery`), or each on its own.

A forked child is waited for and signalled through a socket, since it is its nursery's child and not ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Protocol

READY, UNSAFE = b"ready", b"unsafe"  # what a nursery says first
# Whether there is a GPU is asked of its driver's library: CUDA, once asked itself, could not be used in a forked child any more.
_WITHOUT_CUDA = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
GONE = -signal.SIGKILL  # the exit code of a child whose nursery was killed, and it with it


class Child(Protocol):
    """A job's process; what it says is read from `stdout`, a line each."""

    @property
    def stdout(self) -> IO[str] | None: ...

    def wait(self) -> int:
        """Until it has ended: its exit code, or minus the signal that killed it."""

    def send_signal(self, sig: int) -> None:
        """Nothing, where it has ended."""


def start_alone(command: list[str], log: IO[str], threads: int) -> subprocess.Popen[str]:
    """A job in a process that loads everything itself.

    In a session of its own: the terminal's Ctrl-C reaches this process alone, which hands it on once.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True, env=environment)


class Nursery:
    """One process that loads libraries, data and base model once, and forks a child for each job; it dies with this one.

    To be made and closed by the thread that waits for the jobs, since Linux ends it with that thread.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads  # of each child
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-W", "ignore", "-m", "codetune.imports", "codetune.study.nursery"]
        command += [str(theirs.fileno()), str(threads)]
        with theirs:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)} | _WITHOUT_CUDA,
            )  # fmt: skip
        self._lock = threading.Lock()
        self._ready: bool | None = None  # None until it has said so

    @property
    def pid(self) -> int:
        return self._process.pid

    @staticmethod
    def possible() -> bool:
        """Whether this system forks safely and can wait for any process: Linux."""
        return sys.platform == "linux" and hasattr(os, "pidfd_open")

    def start(self, config: Path, log: IO[str]) -> Forked | None:
        """The job of a `cell.json` or `job.json` in a child; None where the nursery cannot fork safely here, or is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        try:
            with self._lock, theirs:
                if not self._is_ready():
                    raise ConnectionError
                socket.send_fds(self._control, [str(config).encode()], [writer, log.fileno(), theirs.fileno()])
        except OSError:
            ours.close()
            os.close(reader)
            return None
        finally:
            os.close(writer)
        return Forked(ours, os.fdopen(reader))

    def _is_ready(self) -> bool:
        if self._ready is None:
            self._ready = self._control.recv(64) == READY
        return self._ready

    def hurry(self) -> None:
        """Let nobody wait any more for it to be ready, nor for what it loads before it forks."""
        self._process.send_signal(signal.SIGINT if self._ready else signal.SIGKILL)

    def close(self) -> None:
        """When no child runs any more. It may still be loading."""
        if self._ready is None:
            self._process.kill()
        self._control.close()
        self._process.wait()


class Forked:
    """A nursery's child."""

    def __init__(self, channel: socket.socket, stdout: IO[str]) -> None:
        self._channel, self.stdout = channel, stdout

    def wait(self) -> int:
        """Until it has ended: its exit code, or minus the signal that killed it."""
        try:
            said = self._channel.recv(64)
        except OSError:
            said = b""
        self._channel.close()
        self.stdout.close()
        return int(said) if said else GONE

    def send_signal(self, sig: int) -> None:
        """Nothing, where it has ended."""
        with contextlib.suppress(OSError):
            self._channel.send(str(int(sig)).encode())
