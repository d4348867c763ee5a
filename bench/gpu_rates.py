"""What the GPU itself can do: its matrix rate in bf16, and how fast it copies; every share is a share of these."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from bench.gpu_job import matrix_rate, seconds_of
from bench.parts import Part

Json = dict[str, Any]
NAME = "matrix and copy rates"


def parts_of(where: str, tiny: bool) -> list[Part]:
    job = {"where": where, "size": 256 if tiny else 8192, "bytes": 1 << (20 if tiny else 31)}
    return [Part("rates", NAME, "bench.gpu_rates", job, expected_s=15)]


def main(path: Path) -> None:
    """Print the rates: operations, and bytes, a second. A copy on the device reads and writes its bytes: both count."""
    job = json.loads(path.read_text(encoding="utf-8"))
    where, size = job["where"], job["bytes"]
    there = torch.empty(size, dtype=torch.uint8, device=where)
    other, here = torch.empty_like(there), torch.empty(size, dtype=torch.uint8, pin_memory=where == "cuda")
    copies = {
        "copy_rate": (2 * size, lambda: other.copy_(there)), "to_device_rate": (size, lambda: there.copy_(here, non_blocking=True)),
        "to_host_rate": (size, lambda: here.copy_(there, non_blocking=True)),
    }  # fmt: skip
    found = {name: count / min(seconds_of(copy, where, 4) for _ in range(3)) for name, (count, copy) in copies.items()}
    print(json.dumps({"matrix_rate": matrix_rate(where, job["size"])} | found))


def matrix_rate_of(record: Json) -> float | None:
    """As it was measured for the record."""
    found: float | None = record["parts"].get(NAME, {}).get("measured", {}).get("matrix_rate")
    return found


def told(part: Part, kept: Json) -> str:
    found = kept["measured"]
    copies = ", ".join(f"{words} {found[key] / 1e9:,.0f} GB/s" for words, key in _COPIES)
    return f"{found['matrix_rate'] / 1e12:,.1f} TFLOP/s; {copies}"


_COPIES = (("on the device", "copy_rate"), ("from pinned memory", "to_device_rate"), ("to it", "to_host_rate"))


def report(record: Json) -> str:
    kept = record["parts"].get(NAME, {})
    return f"Square product in bf16 and copies: {told(parts_of('cpu', True)[0], kept)}." if "measured" in kept else ""
