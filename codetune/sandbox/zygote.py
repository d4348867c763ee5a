"""A small fresh interpreter that forks two processes per program, the candidate and its checker, and ends both in time.

It is started by `worker.py` with an empty environment, has imported what programs use, and never sees a program, a test or a
result: those go past it, through sockets that only the checker or the candidate holds. One program at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

from codetune.sandbox import candidate, checker, wire
from codetune.sandbox.confine import Confinement, Limits, preload

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 2.0  # what the checker gets after the candidate's time is up
_TICK_S = 0.05
_HIGHEST_FD = 256


class _Job:
    """The two processes of one program, and what became of the candidate."""

    def __init__(self, parent: socket.socket, confinement: Confinement, limits: Limits, timeout_s: float) -> None:
        self.confinement, self.limits, self.timeout_s = confinement, limits, timeout_s
        self.started = time.monotonic()
        self.ends: dict[int, int] = {}  # pid -> wait status
        self.timed_out = False
        asks, answers = socket.socketpair()
        out, err = os.memfd_create("stdout", 0), os.memfd_create("stderr", 0)
        null = os.open(os.devnull, os.O_RDWR)
        self.checker = self._fork([null, null, null, parent.fileno(), asks.fileno(), out, err], False, _check)
        self.candidate = self._fork([null, out, err, answers.fileno()], True, _serve)
        asks.close()
        answers.close()
        for descriptor in (out, err, null):
            os.close(descriptor)

    def _fork(self, descriptors: list[int], writable: bool, role: Callable[[], None]) -> int:
        """A confined child with exactly these descriptors, numbered from 0."""
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGHEST_FD // 2) for descriptor in descriptors]
            for number, descriptor in enumerate(high):
                os.dup2(descriptor, number)
            os.chdir(self.confinement.scratch if writable else "/")
            self.confinement.enter(self.limits, writable)
            os.closerange(len(descriptors), _HIGHEST_FD)
            role()
        except BaseException as error:
            with contextlib.suppress(Exception):
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)

    def wait(self) -> dict[str, Any]:
        """Until the checker is through; kills the candidate at its time limit. What became of it, for the parent."""
        deadline = self.started + self.timeout_s
        while self._reap() and self.checker not in self.ends:
            now = time.monotonic()
            if self.candidate not in self.ends and (now >= deadline or self._too_many_threads(now)):
                self.timed_out = now >= deadline
                _kill(self.candidate)
            if now >= deadline + _GRACE_S:
                _kill(self.checker)
            signal.sigtimedwait({signal.SIGCHLD}, _TICK_S)
        seconds = time.monotonic() - self.started
        self._end_all()
        status = self.ends.get(self.candidate, 0)
        return {"timed_out": self.timed_out, "status": os.waitstatus_to_exitcode(status), "seconds": seconds}

    def _reap(self) -> bool:
        """Collect whoever ended; whether a child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.ends[pid] = status

    def _too_many_threads(self, now: float) -> bool:
        """Where processes are not counted by the kernel (shared uid) a thread bomb is seen here."""
        if now - self.started < _TICK_S:
            return False
        try:
            return len(os.listdir(f"/proc/{self.candidate}/task")) > self.limits.threads
        except OSError:
            return False

    def _end_all(self) -> None:
        """Kill the candidate and all that it left behind: orphans have become children of this process."""
        if self.candidate not in self.ends:
            _kill(self.candidate)
            with contextlib.suppress(ChildProcessError):
                status = os.waitpid(self.candidate, 0)[1]
                if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:  # it was dying of something else already
                    self.ends[self.candidate] = status
        while self._reap():
            for pid in _children():
                _kill(pid)
            time.sleep(0.001)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children() -> list[int]:
    """Pids of this process's children, from /proc."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return found


def _check() -> None:
    checker.main(socket.socket(fileno=3), socket.socket(fileno=4), stdout=5, stderr=6)


def _serve() -> None:
    gc.enable()
    candidate.Server(socket.socket(fileno=3)).serve()


def wipe(folder: str) -> None:
    """Empty a folder, however deep the program nested its own (no recursion, no long path) and whatever modes they have."""
    number = 0
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, stat.S_IRWXU)
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, stat.S_IRWXU)
                    number += 1
                    os.rename(inner.path, os.path.join(folder, f"wipe-{number}-{time.monotonic_ns()}"))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def main(control: socket.socket, scratch: str, worker: int) -> None:
    """Serve until the parent closes the control socket or dies, then leave nothing behind."""
    try:
        _serve_parent(control, scratch, worker)
    except ConnectionError:  # the parent died while a program ran
        return
    finally:
        wipe(scratch)
        os.rmdir(scratch)


def _serve_parent(control: socket.socket, scratch: str, worker: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    preload()
    confinement = Confinement(scratch, worker)
    gc.collect()
    gc.freeze()  # children do not copy pages only to look for garbage
    gc.disable()  # of no use in a checker that lives for milliseconds
    control.send(wire.dumps({"tier": confinement.tier}))
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1 << 12, 1)
        if not data:
            return
        limits, timeout_s = wire.loads(data)
        with socket.socket(fileno=descriptors[0]) as parent:
            job = _Job(parent, confinement, Limits(*limits), timeout_s)
        end = job.wait()
        wipe(scratch)
        control.send(wire.dumps(end))
