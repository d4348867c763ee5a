"""Start the processes of one run on this machine, hand signals on to them, and end them all when one is lost.

torchrun does the same for several machines (docs/parallel.md); this is for `codetune train RECIPE --nproc 2`, in as many words as it takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import IO

from codetune.errors import UserError

LAUNCHED = "CODETUNE_LAUNCHED"  # in the environment of processes that `launch` has started
LOST = 75  # their exit code where another process is gone: that one's fate is the news
GRACE_S = 10.0  # after one process ended with an error, so long may the others take to say why
POLL_S = 0.05
Process = subprocess.Popen[bytes]


def started_by_another() -> bool:
    """Whether torchrun, accelerate launch or `--nproc` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def refuse_processes(nproc: int, gpus: int, device: str) -> None:
    """Raises UserError for a number of processes that this machine has no place for."""
    if nproc < 1:
        raise UserError(f"--nproc {nproc}: give 1 or more")
    if device == "cuda" and nproc > gpus:
        raise UserError(f"--nproc {nproc}: each process needs a GPU, and this machine has {gpus}; give {gpus} or less")
    if device == "mps":
        raise UserError(f"--nproc {nproc}: Apple's GPU serves one process; leave --nproc out, or add --set device=cpu")
    if started_by_another():
        raise UserError(f"--nproc {nproc} inside torchrun or accelerate launch: they start the processes; leave --nproc out")


def launch(arguments: Sequence[str], nproc: int) -> int:
    """Run `python -m codetune.cli ARGUMENTS` in `nproc` processes and return the exit code of the first.

    The first process has the terminal, the others write their complaints to a file. Ctrl-C and SIGTERM reach all of them, once each time.
    Raises UserError when one is lost (killed, out of memory) or fails on its own; then none is left running.
    """
    with contextlib.ExitStack() as stack:
        complaints = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(nproc)]
        port = _free_port()
        processes = [_start(arguments, rank, nproc, port, complaints[rank]) for rank in range(nproc)]
        stack.callback(_end, processes)
        with _handing_signals_on(processes):
            return _watched(processes, complaints)


def _watched(processes: Sequence[Process], complaints: Sequence[IO[bytes]]) -> int:
    """Wait for all. After a first failure the others have a while to end by themselves: they notice a lost connection."""
    failed: dict[int, int] = {}  # exit codes by process, in the order in which they failed
    deadline = float("inf")
    while True:
        codes = [process.poll() for process in processes]
        failed = _noted(failed, codes)
        deadline = min(deadline, time.monotonic() + GRACE_S) if failed else deadline
        if None not in codes or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    first = failed.get(0, 0)
    if not failed or (first > 0 and first != LOST):
        return first  # all went well, or the first process has said what is wrong
    rank, code = next((each for each in failed.items() if each[1] != LOST), (0, LOST))
    raise UserError(f"process {rank} of this run (0 to {len(processes) - 1}) {_fate(code, complaints[rank])}")


def _noted(failed: dict[int, int], codes: Sequence[int | None]) -> dict[int, int]:
    """With what failed since; of those seen together, the killed first: the others complain of that."""
    new = [(rank, code) for rank, code in enumerate(codes) if code and rank not in failed]
    return failed | dict(sorted(new, key=lambda each: (each[1] > 0, each[0])))


def _fate(code: int, complaint: IO[bytes]) -> str:
    complaint.seek(0)
    lines = complaint.read().decode(errors="replace").split("\n")
    last = next((line.removeprefix("codetune: ") for line in reversed(lines) if line.strip()), "it said nothing")
    if code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        why = " (out of main memory?)" if -code == signal.SIGKILL else ""
        return f"was ended by {name}{why}, so the others were ended too; the same command goes on from the last checkpoint"
    return f"failed: {last[:500]}"


def _start(arguments: Sequence[str], rank: int, nproc: int, port: int, complaint: IO[bytes]) -> Process:
    """In a session of its own, so that the terminal's Ctrl-C comes through us, once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // nproc))} | os.environ
    environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(nproc), "LOCAL_WORLD_SIZE": str(nproc)}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), LAUNCHED: "1"}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a machine's own name need not lead anywhere
    command = [sys.executable, "-m", "codetune.cli", *arguments]
    out, error = (None, None) if rank == 0 else (subprocess.DEVNULL, complaint)
    return subprocess.Popen(
        command, env=environment, stdout=out, stderr=error, start_new_session=True, preexec_fn=_end_with_parent
    )  # fmt: skip


def _end_with_parent() -> None:
    """Linux: a SIGTERM when the process that started this one is gone, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@contextlib.contextmanager
def _handing_signals_on(processes: Sequence[Process]) -> Iterator[None]:
    def hand_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(processes: Sequence[Process]) -> None:
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
