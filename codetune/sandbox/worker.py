"""The parent's handle on one zygote: start it, give it a step, take the outcome, restart it when it is gone."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from codetune.errors import UserError
from codetune.sandbox import wire
from codetune.sandbox.confine import Limits
from codetune.sandbox.tiers import enclose
from codetune.sandbox.zygote import wipe

_START_S = 60.0  # for a slow disk; it takes a tenth of a second
_BACKSTOP_S = 10.0  # after the zygote's own time limit

# The packages as bare name spaces: their __init__ would pull in what a small interpreter does not need.
_BOOT = """
import socket, sys, types
root, descriptor, scratch, worker, around = sys.argv[1:]
for name in ("codetune", "codetune.sandbox"):
    package = types.ModuleType(name)
    package.__path__ = ["/".join([root, *name.split(".")])]
    sys.modules[name] = package
from codetune.sandbox.zygote import main
main(socket.socket(fileno=int(descriptor)), scratch, int(worker), around)
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One pair of processes: what the checker is told (a message of wire.py), and the limits."""

    payload: bytes
    limits: Limits


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back: the checker's report (empty where it gave none) and the end of the candidate."""

    report: dict[str, Any] = field(default_factory=dict)
    stopped: str = ""  # the limit for which the candidate was killed: "cpu", "wall", "threads"
    status: int = 0  # exit code, or minus the signal; 0 where it was still alive when the checker was through
    seconds: float = 0.0  # wall clock
    cpu_s: float = 0.0  # of the candidate
    waited_s: float = 0.0  # how long the candidate had no processor though it wanted one
    fault: str = ""  # why this was no fair run: the sandbox's own failure


class Runner(Protocol):
    """What the pool needs of whatever runs steps, one at a time; a container or a remote machine could stand behind it."""

    @property
    def tier(self) -> str: ...

    def start(self, step: Step) -> None: ...

    def sockets(self) -> list[socket.socket]: ...

    def advance(self, ready: list[socket.socket]) -> Outcome | None: ...

    def abort(self) -> None: ...

    def leave(self) -> None: ...

    def close(self) -> None: ...


class Worker:
    """One zygote. `start` a step, wait until `sockets()` have something to read, `advance` until it gives an outcome.

    It begins when it is made, and nobody waits until its tier is asked for: a step that it is handed before lies there until it is ready.
    """

    def __init__(self, number: int, tier: str) -> None:
        self.number = number
        self._asked_tier = tier
        self._tier = ""  # until it has said so
        self._report_socket: socket.socket | None = None
        self._report: dict[str, Any] = {}
        self._allowed_s = self._give_up_at = 0.0
        self._launch()

    def _launch(self) -> None:
        """Start the zygote in a fresh interpreter: no environment, no site-packages, no inherited descriptor."""
        enclosure = enclose(self._asked_tier)
        self._scratch = enclosure.scratch_on_host
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
        environment |= {"HOME": enclosure.scratch, "TMPDIR": enclosure.scratch, "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            [*enclosure.command, "-c", _BOOT, enclosure.root, str(theirs.fileno()), enclosure.scratch, str(self.number), enclosure.around],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._control.settimeout(_START_S)
        self._tier = ""

    @property
    def tier(self) -> str:
        """What protects the host from its programs. Waits until it is ready. Raises UserError where it does not start."""
        if not self._tier:
            self._take_tier()
        return self._tier

    def _take_tier(self) -> None:
        data = self._receive_control()
        if data is None:
            assert self._process.stderr is not None
            self._process.kill()
            lines = self._process.stderr.read().decode("utf-8", "replace").strip().splitlines() or ["no message"]
            self.close()
            raise UserError(f"the sandbox did not start in tier {self._asked_tier}: {lines[-1]}; run `codetune doctor`")
        self._tier = str(data["tier"])

    def start(self, step: Step) -> None:
        """Hand a step over. Does not wait for its end."""
        ours, theirs = socket.socketpair()
        ours.settimeout(step.limits.wall_s + _BACKSTOP_S)
        self._report_socket, self._report = ours, {}
        self._allowed_s = step.limits.wall_s + _BACKSTOP_S
        self._give_up_at = time.monotonic() + self._allowed_s + (0 if self._tier else _START_S)
        try:
            with theirs:
                socket.send_fds(self._control, [wire.dumps(tuple(step.limits))], [theirs.fileno()])
            wire.send(ours, step.payload)
        except OSError:
            # A dead checker or zygote: the control socket will say which.
            return

    def sockets(self) -> list[socket.socket]:
        """What to wait on."""
        return [self._control] if self._report_socket is None else [self._control, self._report_socket]

    def advance(self, ready: list[socket.socket]) -> Outcome | None:
        """Take what is there; the outcome once the step is over."""
        if self._report_socket is not None and self._report_socket in ready:
            self._take_report()
        if self._control in ready and not self._tier:
            self._take_tier()
            self._give_up_at = time.monotonic() + self._allowed_s
        elif self._control in ready:
            end = self._receive_control()
            if end is None:
                return self._lost()
            self._take_report()
            return Outcome(self._report, **end)
        return self._lost() if time.monotonic() > self._give_up_at else None

    def _take_report(self) -> None:
        """The checker's report; whatever else comes is none."""
        if self._report_socket is None:
            return
        try:
            data = wire.receive(self._report_socket)
            report = wire.loads(data) if data is not None else {}
        except (OSError, wire.WireError):
            report = {}
        self._report = report if isinstance(report, dict) else {}
        self._report_socket.close()
        self._report_socket = None

    def _receive_control(self) -> dict[str, Any] | None:
        try:
            data = self._control.recv(1 << 12)
        except OSError:
            return None
        return dict(wire.loads(data)) if data else None

    def _lost(self) -> Outcome:
        self.abort()
        return Outcome(fault="the sandbox's worker was lost with this program")

    def abort(self) -> None:
        """Drop what is running and start afresh. What only starts is waited for: killed then, bubblewrap leaves half of itself behind."""
        with contextlib.suppress(UserError):
            _ = self.tier
        self._process.kill()
        self.close()
        self._launch()

    def leave(self) -> None:
        """Tell the zygote to end, which it does when it is ready, and `close` waits for."""
        self._control.close()

    def close(self) -> None:
        """End the zygote; a candidate that runs goes with it (its parent-death signal)."""
        if self._report_socket is not None:
            self._report_socket.close()
            self._report_socket = None
        self.leave()
        try:
            self._process.wait(timeout=_BACKSTOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        if self._scratch:
            _remove(self._scratch)


def _remove(folder: str) -> None:
    """The scratch folder, which the zygote removes itself unless it was killed; then its candidate may still be dying."""
    for _ in range(100):
        if not os.path.isdir(folder):
            return
        try:
            wipe(folder)
            os.rmdir(folder)
        except OSError:
            time.sleep(0.01)
