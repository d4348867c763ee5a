"""Processes that measure: each of a module's jobs in one of its own, forked where that is possible, started anew where it is not."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.environment import say
from bench.host import CANNOT_FORK
from bench.turns import CHECKOUT, error_line

Json = dict[str, Any]
GRACE_S = 20.0  # that a host may take beyond a job's time to answer
STARTS_S = 120.0  # and to import what it is to import
_MISTAKE = "codetune.errors.UserError: "
QUIETLY = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "WORLD_SIZE": "1",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # so that a process which only asks whether there is a GPU can still be forked
}  # fmt: skip


class LateError(Exception):
    """A job was not done in its time."""


class FailedError(Exception):
    """A job ended without an answer; one line says why."""


class Host:
    """Measuring processes of one interpreter. `modules` are imported once for all of them."""

    def __init__(self, python: Path, modules: Sequence[str]) -> None:
        self._command = [str(python), "-m", "bench.host"]
        self._modules = list(modules)
        self._process: subprocess.Popen[str] | None = None
        self._forks = bool(self._modules)

    def measured(self, module: str, job: Json, limit_s: float) -> Json:
        """What `module` answered to the job. Raises LateError, or FailedError."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            code = self._forked(module, folder, limit_s) if self._forks else CANNOT_FORK
            if code == CANNOT_FORK:
                code = self._anew(module, folder, limit_s)
            if code is None:
                raise LateError
            said, error = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))
        if code:
            why = error_line(error, code) if error.strip() else f"ended with exit code {code} (memory?)"
            raise FailedError(why.removeprefix(_MISTAKE)[:300])
        found: Json = json.loads(said.splitlines()[-1])
        return found

    def start(self) -> None:
        """Begin to import, and do not wait for it."""
        if self._forks and self._process is None:
            self._process = subprocess.Popen(
                [*self._command, *self._modules], cwd=CHECKOUT, env=os.environ | QUIETLY, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, bufsize=1,
            )  # fmt: skip

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _forked(self, module: str, folder: Path, limit_s: float) -> int | None:
        fresh = self._process is None
        self.start()
        assert self._process
        assert self._process.stdin
        assert self._process.stdout
        line = ""
        try:
            self._process.stdin.write(json.dumps({"module": module, "folder": str(folder), "limit_s": limit_s}) + "\n")
            if select.select([self._process.stdout], [], [], limit_s + GRACE_S + (STARTS_S if fresh else 0))[0]:
                line = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:  # it hangs, or is no more: the next job gets another
            self.close()
            raise FailedError("the process that it was forked from ended or hung")
        code: int | None = json.loads(line)["code"]
        if code == CANNOT_FORK:
            say(f"{self._command[0]}: an import touches the GPU, so every part imports for itself")
            self._forks = False
            self.close()
        return code

    def _anew(self, module: str, folder: Path, limit_s: float) -> int | None:
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as error:
            process = subprocess.Popen(
                [*self._command, "--once", module, str(folder / "job.json")], cwd=CHECKOUT, env=os.environ | QUIETLY,
                stdin=subprocess.DEVNULL, stdout=out, stderr=error, start_new_session=True,
            )  # fmt: skip
            try:
                return process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
