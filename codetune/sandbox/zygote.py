"""A small fresh interpreter that forks a candidate for each program, and a checker for it where there is none, and ends both in time.

It is started by `worker.py` with an empty environment, has imported what programs use, and never sees a program, a test or a
result: those go past it, through sockets that only the checker or the candidate holds. One program at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from codetune.sandbox import candidate, checker, wire
from codetune.sandbox.confine import Confinement, Limits, preload

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 2.0  # what the checker gets after the candidate's time is up
_TICK_S = 0.05
_READY = b"+"  # what a child says once it is confined, before it does anything else
_HIGHEST_FD = 256
_CHECKER_CPU_S = 86_400.0  # for all its programs; what it may take for one is _GRACE_S more than the candidate


class _Checker(NamedTuple):
    """A checker that is alive, and the limits that it was made under."""

    pid: int
    control: socket.socket
    limits: Limits


class _Zygote:
    """What outlives a job: the measures of this machine, and a checker that can judge another program."""

    def __init__(self, confinement: Confinement) -> None:
        self.confinement = confinement
        self.checker: _Checker | None = None

    def fork(self, descriptors: list[int], limits: Limits, writable: bool, says_ready: int, role: Callable[[], None]) -> int:
        """A confined child with exactly these descriptors, numbered from 0."""
        pid = os.fork()
        if pid:
            return pid
        try:
            high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGHEST_FD // 2) for descriptor in [*descriptors, says_ready]]
            for number, descriptor in enumerate(high[:-1]):
                os.dup2(descriptor, number)
            try:
                os.chdir(self.confinement.scratch if writable else "/")
                self.confinement.enter(limits, writable)
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

    def checker_for(self, limits: Limits, says_ready: int) -> tuple[_Checker, bool]:
        """A checker with these limits, and whether it is a new one."""
        if self.checker is not None and self.checker.limits.memory_mb == limits.memory_mb:
            return self.checker, False
        self.retire()
        ours, theirs = socket.socketpair()
        null = os.open(os.devnull, os.O_RDWR)
        lasting = limits._replace(cpu_s=_CHECKER_CPU_S)
        pid = self.fork([null, null, null, theirs.fileno()], lasting, False, says_ready, _check)
        theirs.close()
        os.close(null)
        self.checker = _Checker(pid, ours, limits)
        return self.checker, True

    def retire(self) -> None:
        """End the checker, in whatever state it is."""
        if self.checker is not None:
            self.checker.control.close()
            _kill(self.checker.pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.checker.pid, 0)
            self.checker = None


class _Job:
    """One program: its candidate, and the checker that judges it."""

    def __init__(self, zygote: _Zygote, parent: socket.socket, limits: Limits) -> None:
        self.zygote, self.limits = zygote, limits
        self.started = time.monotonic()
        self.status: int | None = None  # of the candidate, once it has ended
        self.stopped = ""  # the limit for which the candidate was killed: cpu, wall, threads
        self.cpu_s = self.waited_s = 0.0
        self.ready, says_ready = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        asks, answers = socket.socketpair()
        out, err = os.memfd_create("stdout", 0), os.memfd_create("stderr", 0)
        null = os.open(os.devnull, os.O_RDONLY)
        self.checker, is_new = zygote.checker_for(limits, says_ready)
        self.says_ready = (1 + is_new) * _READY
        self.candidate = zygote.fork([null, out, err, answers.fileno()], limits, True, says_ready, _serve)
        with contextlib.suppress(OSError):  # a checker that is gone is found out soon enough
            socket.send_fds(self.checker.control, [b"j"], [parent.fileno(), asks.fileno(), out, err])
        asks.close()
        answers.close()
        for descriptor in (out, err, null, says_ready):
            os.close(descriptor)

    def wait(self) -> dict[str, Any]:
        """Until the checker is through; kills the candidate at its limits. What became of it, for the parent."""
        deadline = self.started + self.limits.wall_s
        poll = select.poll()
        poll.register(self.checker.control, select.POLLIN)
        while not poll.poll(1000 * _TICK_S):
            now = time.monotonic()
            if not self.stopped and not self._has_ended():
                self.stopped = self._limit_reached(now, deadline)
                if self.stopped:
                    deadline = now
                    self.waited_s = _runqueue_wait_s(self.candidate)
                    _kill(self.candidate)
            if now >= deadline + _GRACE_S:
                break
        else:
            if self.checker.control.recv(1) == checker.READY:
                return self._end()
        self.zygote.retire()
        return self._end()

    def _end(self) -> dict[str, Any]:
        seconds = time.monotonic() - self.started
        self._end_candidate()
        status = os.waitstatus_to_exitcode(self.status or 0)
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
        if said == self.says_ready:
            return ""
        return said.lstrip(_READY).decode("utf-8", "replace") or "a process of the sandbox did not begin"

    def _has_ended(self, options: int = os.WNOHANG) -> bool:
        """Whether the candidate has; its status and processor time are taken when it is seen first."""
        if self.status is None:
            pid, status, usage = os.wait4(self.candidate, options)
            if pid:
                self.status, self.cpu_s = status, usage.ru_utime + usage.ru_stime
        return self.status is not None

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

    def _end_candidate(self) -> None:
        """Kill the candidate and all that it left behind: orphans have become children of this process."""
        if not self._has_ended():
            _kill(self.candidate)
            self._has_ended(0)
            if not self.stopped and os.waitstatus_to_exitcode(self.status or 0) == -signal.SIGKILL:
                self.status = None  # it was alive, and well, until now
        while not self.zygote.confinement.seccomp and (orphans := set(_children()) - {self.checker.pid}):
            for pid in orphans:
                _kill(pid)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


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
    checker.main(socket.socket(fileno=3))


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
    preload()
    confinement = Confinement(scratch, worker, around)
    zygote = _Zygote(confinement)
    gc.collect()
    gc.freeze()  # children do not copy pages only to look for garbage
    gc.disable()  # until a child has its role
    control.send(wire.dumps({"tier": confinement.tier}))
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1 << 12, 1)
        if not data:
            return
        with socket.socket(fileno=descriptors[0]) as parent:
            job = _Job(zygote, parent, Limits(*wire.loads(data)))
        end = job.wait()
        wipe(scratch)
        control.send(wire.dumps(end))
