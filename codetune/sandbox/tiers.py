"""What encloses a zygote: namespaces of its own by bubblewrap (T2), or nothing but what it does to itself (T1).

A tier gives the command that starts the zygote's interpreter, with the arguments that `worker.py` appends, and says where the
scratch folder of its programs lies.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from codetune.errors import UserError
from codetune.sandbox.confine import interpreter_paths

NAMES = ("T2", "T1")  # best first
_SANDBOX = Path(__file__).resolve().parent
_SCRATCH_BYTES = 64 << 20  # all files of one program together, where the tier has a file system of its own
_NOBODY = "65534"
_FLAGS = ("-s", "-S", "-P", "-X", "frozen_modules=on")  # no site-packages, no folder of the script's on the path


@dataclass(frozen=True, slots=True)
class Enclosure:
    """How to start one zygote. `root` holds `codetune/sandbox` as the zygote sees it; `scratch_on_host` is empty where nothing is."""

    command: tuple[str, ...]
    root: str
    scratch: str
    scratch_on_host: str
    around: str


def enclose(tier: str) -> Enclosure:
    """An enclosure of this tier, a key of `NAMES`. Raises UserError for another name, and for T2 without bubblewrap."""
    if tier == "T1":
        scratch = tempfile.mkdtemp(prefix="codetune-")
        return Enclosure((sys.executable, *_FLAGS), str(_SANDBOX.parents[1]), scratch, scratch, "")
    if tier == "T2":
        return Enclosure((*_bubblewrap(), _interpreter(), *_FLAGS), "/codetune", "/scratch", "", bubblewrap_version())
    raise UserError(f"unknown sandbox tier {tier!r}; valid: {', '.join(NAMES)}")


@functools.cache
def bubblewrap_version() -> str:
    """ "bubblewrap 0.8.0". Raises UserError where there is none."""
    program = shutil.which("bwrap")
    if program is None:
        raise UserError("tier T2 needs bubblewrap, which is not installed: apt install bubblewrap (or your distribution's package)")
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def _interpreter() -> str:
    """The base interpreter itself: a virtual environment's link would lead out of what is mounted."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _bubblewrap() -> list[str]:
    """All namespaces, an empty network, read-only the interpreter and nothing else, a scratch file system of limited size."""
    command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]
    for path in sorted({_interpreter(), *map(os.path.abspath, interpreter_paths())}):
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", str(_SANDBOX), "/codetune/codetune/sandbox", "--proc", "/proc", "--dev", "/dev"]
    return [*command, "--size", str(_SCRATCH_BYTES), "--tmpfs", "/scratch", "--remount-ro", "/", "--chdir", "/"]
