"""Energy that the machine's own counters tell: of processors and memory (RAPL) and of NVIDIA GPUs (NVML); nothing where none can be read.

A counter is of a whole processor or GPU: whatever else runs there is in it. Since 2020 Linux lets only root read RAPL's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_COUNTED = ("package", "dram")  # a package's cores and graphics are in it; its memory is not


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that only grows, in units of `joules`, until it starts again from 0 after `last` (None: it never does)."""

    name: str
    read: Callable[[], int]
    joules: float
    last: int | None = None


class EnergyMeter:
    """Joules from one look at the counters to the next."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters, self._readings = counters, [counter.read() for counter in counters]

    @property
    def source(self) -> str:
        """What is counted, as `package-0, dram`; "" where nothing is."""
        return ", ".join(counter.name for counter in self._counters)

    def lap(self) -> float | None:
        """Joules since the last call, or since the meter was made; None where nothing is counted, or a counter is gone.

        A counter that started again in between is taken to have done so once: RAPL's do after some 260 kJ, half an hour at full load.
        """
        try:
            readings = [counter.read() for counter in self._counters]
        except (OSError, ValueError):
            self._counters = ()
        if not self._counters:
            return None
        used = sum(
            counter.joules * grown(before, now, counter.last)
            for counter, before, now in zip(self._counters, self._readings, readings, strict=True)
        )
        self._readings = readings
        return used


def grown(before: int, now: int, last: int | None) -> int:
    """How far a counter has come that goes on from `last` to 0.

    >>> grown(10, 25, 100), grown(90, 5, 100), grown(7, 7, None)
    (15, 16, 0)
    """
    return now - before if now >= before or last is None else last - before + 1 + now


def total_of(laps: Sequence[float | None]) -> float | None:
    """
    >>> total_of([1.0, 2.5]), total_of([1.0, None])
    (3.5, None)
    """
    known = [lap for lap in laps if lap is not None]
    return sum(known) if len(known) == len(laps) else None


def open_meter(powercap: Path = POWERCAP) -> EnergyMeter:
    """A meter of all counters that this process may read."""
    return EnergyMeter([*_rapl(powercap), *_nvml()])


def _rapl(powercap: Path) -> list[Counter]:
    """Zones `intel-rapl:0` (a package) and `intel-rapl:0:1` (a part of it), on AMD's processors, too. A folder each."""
    found = []
    for zone in sorted(powercap.glob("intel-rapl*:*")):
        with contextlib.suppress(OSError, ValueError):
            name = (zone / "name").read_text(encoding="utf-8").strip()
            if not name.startswith(_COUNTED):
                continue
            counter = Counter(name, lambda zone=zone: _number(zone / "energy_uj"), 1e-6, _number(zone / "max_energy_range_uj"))  # type: ignore[misc]
            counter.read()
            found.append(counter)
    return found


def _nvml() -> list[Counter]:
    """One per GPU that CUDA may use, from Volta on: millijoules since the driver was loaded. It takes the package nvidia-ml-py."""
    try:
        import pynvml
    except ImportError:
        return []
    found: list[Counter] = []
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        for name in map(str, range(pynvml.nvmlDeviceGetCount())) if visible is None else filter(None, visible.split(",")):
            handle = pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(name)

            def read(handle: object = handle) -> int:
                try:
                    return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
                except pynvml.NVMLError as error:
                    raise OSError(str(error)) from None

            with contextlib.suppress(OSError):
                read()
                found.append(Counter(f"GPU {name}", read, 1e-3))
    return found


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))
