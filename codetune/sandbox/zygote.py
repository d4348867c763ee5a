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
_READY = b"+"  # what a child says once it is confined, before it does anything else
_HIGHEST_FD = 256


class _Job:
    """The two processes of one program, and what became of the candidate."""

    def __init__(self, parent: socket.socket, confinement: Confinement, limits: Limits) -> None:
        self.confinement, self.limits = confinement, limits
        self.started = time.monotonic()
        self.ends: dict[int, int] = {}  # pid -> wait status
        self.stopped = ""  # the limit for which the candidate was killed: cpu, wall, threads
        self.cpu_s = self.waited_s = 0.0
        self.ready, self.says_ready = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        asks, answers = socket.socketpair()
        out, err = os.memfd_create("stdout", 0), os.memfd_create("stderr", 0)
        null = os.open(os.devnull, os.O_RDWR)
        self.checker = self._fork([null, null, null, parent.fileno(), asks.fileno(), out, err], False, _check)
        self.candidate = self._fork([null, out, err, answers.fileno()], True, _serve)
        asks.close()
        answers.close()
        for descriptor in (out, err, null, self.says_ready):
            os.close(descriptor)

    def _fork(self, descriptors: list[int], writable: bool, role: Callable[[], None]) -> int:
        """A confined child with exactly these descriptors, numbered from 0."""
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGHEST_FD // 2) for descriptor in [*descriptors, self.says_ready]]
            for number, descriptor in enumerate(high[:-1]):
                os.dup2(descriptor, number)
            try:
                os.chdir(self.confinement.scratch if writable else "/")
                self.confinement.enter(self.limits, writable)
                os.write(high[-1], _READY)
            except OSError as error:
                os.write(high[-1], f"confinement failed: {error}".encode())
                os._exit(1)
            os.closerange(len(descriptors), _HIGHEST_FD)
            role()
        except BaseException as error:
            with contextlib.suppress(Exception):
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)

    def wait(self) -> dict[str, Any]:
        """Until the checker is through; kills the candidate at its limits. What became of it, for the parent."""
        deadline = self.started + self.limits.wall_s
        while self._reap() and self.checker not in self.ends:
            now = time.monotonic()
            if self.candidate not in self.ends and not self.stopped:
                self.stopped = self._limit_reached(now, deadline)
                if self.stopped:
                    deadline = now
                    self.waited_s = _runqueue_wait_s(self.candidate)
                    _kill(self.candidate)
            if now >= deadline + _GRACE_S:
                _kill(self.checker)
            signal.sigtimedwait({signal.SIGCHLD}, _TICK_S)
        seconds = time.monotonic() - self.started
        self._end_all()
        status = os.waitstatus_to_exitcode(self.ends.get(self.candidate, 0))
        return {
            "stopped": self.stopped, "status": status, "seconds": seconds, "cpu_s": self.cpu_s, "waited_s": self.waited_s,
            "fault": self._fault(),
        }  # fmt: skip

    def _fault(self) -> str:
        """Why this was no fair run: a child that was not confined, hence never began; empty where all was well."""
        try:
            said = os.read(self.ready, 1 << 10)
        except BlockingIOError:
            said = b""
        os.close(self.ready)
        return "" if said == 2 * _READY else said.lstrip(_READY).decode("utf-8", "replace") or "a process of the sandbox did not begin"

    def _reap(self) -> bool:
        """Collect whoever ended; whether a child is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.ends[pid] = status
            if pid == self.candidate:
                self.cpu_s = usage.ru_utime + usage.ru_stime

    def _limit_reached(self, now: float, deadline: float) -> str:
        if _cpu_s(self.candidate) >= self.limits.cpu_s:
            return "cpu"
        if now >= deadline:
            return "wall"
        return "threads" if self._too_many_threads(now) else ""

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
                _, status, usage = os.wait4(self.candidate, 0)
                self.cpu_s = usage.ru_utime + usage.ru_stime
                if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:  # it was dying of something else already
                    self.ends[self.candidate] = status
        while self._reap():
            for pid in _children():
                _kill(pid)
            time.sleep(0.001)


def _cpu_s(pid: int) -> float:
    """Processor time of a process with all its threads, by its CPU clock (clock_getcpuclockid(3)); 0 once it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _runqueue_wait_s(pid: int) -> float:
    """How long a process was ready to run and had no processor, as far as the kernel counts it."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


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


def main(control: socket.socket, scratch: str, worker: int, around: str) -> None:
    """Serve until the parent closes the control socket or dies, then leave nothing behind. `around` names what encloses the zygote."""
    try:
        _serve_parent(control, scratch, worker, around)
    except ConnectionError:  # the parent died while a program ran
        return
    finally:
        wipe(scratch)
        with contextlib.suppress(OSError):  # a mount of the tier's own goes with its namespace
            os.rmdir(scratch)


def _serve_parent(control: socket.socket, scratch: str, worker: int, around: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    preload()
    confinement = Confinement(scratch, worker, around)
    gc.collect()
    gc.freeze()  # children do not copy pages only to look for garbage
    gc.disable()  # of no use in a checker that lives for milliseconds
    control.send(wire.dumps({"tier": confinement.tier}))
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1 << 12, 1)
        if not data:
            return
        with socket.socket(fileno=descriptors[0]) as parent:
            job = _Job(parent, confinement, Limits(*wire.loads(data)))
        end = job.wait()
        wipe(scratch)
        control.send(wire.dumps(end))
