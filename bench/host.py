"""The process that the parts of a benchmark are forked from: it has imported what they need, which takes longer than many of them.

    python -m bench.host torch bench.ours_gpu           imports these, then reads jobs from stdin, a JSON object a line, and answers each
    python -m bench.host --once bench.ours_gpu job.json      one job, in this process

A module that measures has `main(path)`, which reads its job from there and prints its answer, a JSON object, as its last line. Each job
is a process of its own, so a peak is its own and a crash its own. Nothing of codetune is imported here: peers run it in their environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Literal

CANNOT_FORK = 77  # exit code: an import has touched the GPU, which a forked process then cannot use
WITHHELD = ("bitsandbytes",)  # asks the GPU what it is when it is imported: a job that needs it imports it for itself
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, of linux/prctl.h


def serve(modules: list[str]) -> None:
    """Import what can be imported of these, then run one job after the other until stdin ends."""
    die_with_parent()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    withheld: dict[str, Any] = dict.fromkeys(WITHHELD)
    sys.modules.update(withheld)  # as if it were not there
    for name in modules:
        with contextlib.suppress(Exception):  # who needs it will say so
            importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(forked(asked["module"], Path(asked["folder"]), asked["limit_s"])), file=answers, flush=True)


def forked(module: str, folder: Path, limit_s: float) -> dict[str, Any]:
    """Run the folder's job.json in a forked process. Its exit code, None where it was killed for its time; stdout and stderr lie beside."""
    pid = os.fork()
    if pid == 0:
        _begin(module, folder)
    ends = time.monotonic() + limit_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        late = not done and time.monotonic() > ends
        if late:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if done or late:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what it started itself
            return {"code": None if late else os.waitstatus_to_exitcode(status)}
        time.sleep(0.01)


def _begin(module: str, folder: Path) -> None:
    """The job in the child, which does not come back."""
    os.setsid()
    die_with_parent()
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda._is_in_bad_fork():
        os._exit(CANNOT_FORK)
    for name in WITHHELD:
        del sys.modules[name]
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    code: Literal[0, 1] = 0
    try:
        importlib.import_module(module).main(folder / "job.json")
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)  # the host's own business at its end is not the child's


def die_with_parent() -> None:
    """Be killed when who started this process ends, however it ends. Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        die_with_parent()
        importlib.import_module(sys.argv[2]).main(Path(sys.argv[3]))
    else:
        serve(sys.argv[1:])
