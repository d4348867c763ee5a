"""The machine under a run: which device it computes on, how much memory it has held, and what to record of it."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from codetune.records import Json


def device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def peak_memory_bytes() -> int:
    """The most memory that this process has held: on the GPU where there is one, else resident in main memory."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def hardware() -> Json:
    """What a result records of its machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB"
    return {"cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads(), "memory": memory, "gpu": gpu}


def versions() -> Json:
    """Of what decides how a model is trained."""
    return {name: version(name) for name in ("codetune", "torch", "transformers", "peft", "tokenizers")}


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
