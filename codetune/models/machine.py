"""The machine under a run: which device it computes on and in what precision, how much memory it has held, and what to record of it."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from codetune.config import TrainPrecision
from codetune.errors import UserError
from codetune.records import Json

_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux names them in /proc/cpuinfo: x86's two, and ARM's


def available_devices() -> list[str]:
    """What this machine computes on, the fastest first; the CPU is always there."""
    found = ["cuda"] if torch.cuda.is_available() else []
    return [*found, "mps", "cpu"] if torch.backends.mps.is_available() else [*found, "cpu"]


def device(asked: str = "auto") -> str:
    """The device as asked; of `auto`, CUDA before MPS before the CPU. Raises UserError for one that is not there."""
    found = available_devices()
    if asked == "auto":
        return found[0]
    if asked not in found:
        raise UserError(f"device {asked!r} is not on this machine, which has {' and '.join(found)}: choose one of these, or auto")
    return asked


def gpus() -> int:
    """How many GPUs CUDA has."""
    return torch.cuda.device_count()


def compute_with(threads: int) -> None:
    """From now on on so many processor cores; with 1 no threads are started, and the process may be forked."""
    torch.set_num_threads(threads)


def gpu_lost_by_fork() -> bool:
    """Whether this process was forked from one that had touched CUDA, and cannot use it."""
    return bool(torch.cuda._is_in_bad_fork())


def computes_in_bf16(device: str) -> bool:
    """Whether the device multiplies matrices in bf16 itself: CUDA from compute capability 8, MPS, CPUs whose flags say so."""
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    return device == "mps" or bool(_BF16_FLAGS & _cpu_flags())


def computed_in(model: torch.nn.Module) -> str:
    """`bf16` where any layer of the model multiplies in it, else `fp32`: how far a batch may change an answer."""
    narrow = any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    narrow |= any(getattr(module, "compute_dtype", None) == torch.bfloat16 for module in model.modules())  # a layer in 4 bits
    return "bf16" if narrow else "fp32"


def settled_precision(asked: TrainPrecision, device: str) -> TrainPrecision:
    """The precision as asked; `auto` is bf16 where the device computes in it, else fp32."""
    if asked != "auto":
        return asked
    return "bf16" if computes_in_bf16(device) else "fp32"


@functools.cache
def process_bytes() -> int:
    """What this process held when it was first asked: its libraries, if that was before there was a model."""
    return int(psutil.Process().memory_info().rss)


def peak_memory_bytes(device: str = "auto") -> int:
    """The most memory that this process has held: on a GPU what torch allocated there, on the CPU what was resident.

    MPS keeps no peak: what Metal holds now, or the resident peak, whichever is more.
    """
    chosen = available_devices()[0] if device == "auto" else device
    if chosen == "cuda":
        return int(torch.cuda.max_memory_allocated())
    resident = resident_peak_bytes()
    return max(resident, torch.mps.driver_allocated_memory()) if chosen == "mps" else resident


def resident_peak_bytes() -> int:
    """The most main memory that this process has held. On Linux not by `ru_maxrss`, which is inherited from whatever process started it.

    In a forked process all that it shares counts in full, as if it had it alone; pages of libraries that were read before the fork,
    and that it has not read again, count too (see `note_libraries`).
    """
    held = _status()
    if "VmHWM" in held:
        return held["VmHWM"] + max(0, _LIBRARIES[-1] - held.get("RssFile", 0))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes there, else KiB


_LIBRARIES = [0]  # bytes of files that were in memory when the libraries had been loaded


def note_libraries() -> None:
    """Before processes are forked: Linux does not give a child its parent's pages of files, which a process of its own would hold."""
    _LIBRARIES.append(_status().get("RssFile", 0))


def _status() -> dict[str, int]:
    """What Linux says of this process's memory, in bytes; nothing elsewhere."""
    with contextlib.suppress(OSError):
        lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
        return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}
    return {}


def reset_peak(device: str = "auto") -> bool:
    """Count `peak_memory_bytes` from here on; False where the system keeps a process's peak for good. Linux forgets it on request."""
    chosen = available_devices()[0] if device == "auto" else device
    if chosen == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def hardware() -> Json:
    """What a result records of its machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "Apple MPS" if torch.backends.mps.is_available() else "none"
    memory = f"{psutil.virtual_memory().total / 1e9:.0f} GB"
    return {"cpu": _cpu_name(), "cores": _cores(), "threads": torch.get_num_threads(), "memory": memory, "gpu": gpu}


def _cores() -> int:
    """Those that this process may use; all of them where the system does not tell (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_flags() -> set[str]:
    return set(_cpuinfo("flags").split()) | set(_cpuinfo("Features").split())  # x86's key and ARM's


def versions() -> Json:
    """Of what decides how a model is trained. A checkout that is run as it lies there has none of its own."""
    found = {}
    for name in ("codetune", "torch", "transformers", "peft", "tokenizers"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_vendor() -> str:
    """As an x86 processor calls its maker, `GenuineIntel` say; "" where nobody tells."""
    return _cpuinfo("vendor_id")


def _cpuinfo(key: str) -> str:
    """The first such line of /proc/cpuinfo, without the key; "" where there is none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.partition("\t")[0].strip(" :") == key:
                return line.partition(":")[2].strip()
    return ""


def prefill_tokens(where: str) -> int:
    """Of prompts that are run in one pass, padding included; a longer one goes alone. What 512 need stays in a CPU's caches."""
    return 512 if where == "cpu" else 8192
