"""The peers' own virtual environment, and the account of the machine that measured."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from codetune.errors import UserError

HERE = Path(__file__).resolve().parent
_HAS_TRL = "import importlib.util as u; assert u.find_spec('trl') and u.find_spec('datasets')"


def peers_python(name: str = "peers") -> Path:
    """The interpreter of a peers' environment, `bench/.venv-<name>` from the pins in `bench/<name>.txt`.

    Made on first use and again whenever the pins change. A line `# pip: OPTIONS` among them gives pip these options. TORCH_INDEX
    names an index for torch, as in the Makefile (the CPU build is much smaller). Several processes that ask at once make it once.
    Raises UserError if that fails.
    """
    pins, folder = HERE / f"{name}.txt", HERE / f".venv-{name}"
    python, stamp, wanted = folder / "bin" / "python", folder / "installed.sha256", hashlib.sha256(pins.read_bytes()).hexdigest()
    with folder.resolve().with_suffix(".lock").open("w") as lock:  # the place itself, where the folder is a link to another checkout's
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
            _make(pins, folder, python)
            stamp.write_text(wanted)
    return python


def peers_at(given: str) -> Path | None:
    """The peers' interpreter: the one that is given, with `make` one that is made, else one that is here already, this one if it has trl.

    None where none is here. Raises UserError where the one that is given has no trl.
    """
    if given == "make":
        return peers_python()
    if given:
        if shutil.which(given) is None or subprocess.run([given, "-c", _HAS_TRL], capture_output=True).returncode:
            raise UserError(f"--peers {given}: no Python that has trl and datasets")
        return Path(given)
    here = HERE / ".venv-peers" / "bin" / "python"
    if here.exists():
        return here
    return Path(sys.executable) if all(importlib.util.find_spec(name) for name in ("trl", "datasets")) else None


def _make(pins: Path, folder: Path, python: Path) -> None:
    lines = pins.read_text().splitlines()
    torch = [line for line in lines if line.startswith("torch==")]
    options = [word for line in lines if line.startswith("# pip: ") for word in line.removeprefix("# pip: ").split()]
    say(f"making the peers' environment in {folder} (once{'; a download of some hundred megabytes' if torch else ''})")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    index = os.environ.get("TORCH_INDEX")
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    if torch:
        _run([*pip, *(["--extra-index-url", index] if index else []), *torch])
    _run([*pip, *options, "-r", str(pins)])


def say(line: str) -> None:
    """Narration, on stderr."""
    print(line, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """Processor, cores and system of this machine."""
    return {"processor": _processor(), "cores": os.cpu_count(), "system": platform.platform(terse=True)}


def load_average() -> float:
    """Runnable processes in the last minute."""
    return os.getloadavg()[0]


def limited(threads: int) -> dict[str, str]:
    """The environment of a measuring process: so many threads, no GPU, no network."""
    count = str(threads)
    limits = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **limits, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONHASHSEED": "0"}


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"the peers' environment could not be made: {_last_line(done.stderr)} (command: {' '.join(command[-3:])})")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
