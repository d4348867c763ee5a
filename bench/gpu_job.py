"""What one measurement of training on a GPU is told and what it answers, and what both sides must do alike: weights, tokens, clock, rate.

Of codetune nothing is imported here: the peer's process runs this, too, in the peers' environment.
"""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch


@dataclass(frozen=True, slots=True)
class GpuJob:
    """One training run: the same documents in the same steps for every system."""

    system: Literal["codetune", "codetune plain", "codetune compiled", "codetune CUDA graphs", "TRL", "TRL no checkpointing"]
    config: dict[str, Any]  # of the model, as transformers writes it
    method: Literal["lora", "full"]
    documents: list[int]  # tokens of each document of a step
    row_tokens: int
    rows_per_pass: int
    documents_per_pass: int  # the peer's batch
    where: Literal["cuda", "cpu"]
    precision: str = "bf16"
    optimizer: str = "adamw"
    checkpointing: bool = False  # of ours; the peer's is its system's
    warm_up: int = 3  # steps that are not timed: kernels are compiled in them
    steps: int = 8  # timed
    lora_rank: int = 16
    rate_size: int = 8192  # of the square product that the matrix rate is measured with

    @classmethod
    def load(cls, path: Path) -> GpuJob:
        return cls(**json.loads(path.read_text()))

    def ids(self) -> list[list[int]]:
        """Random token ids of all documents of all steps, each step's after the other's."""
        chosen = random.Random(0)
        every = self.documents * (self.warm_up + self.steps)
        return [[chosen.randrange(self.config["vocab_size"]) for _ in range(length)] for length in every]


@dataclass(frozen=True, slots=True)
class GpuMeasurement:
    """What the process measured, seconds of the timed steps alone."""

    seconds: float
    cpu_seconds: float
    tokens: int  # in them
    losses: list[float]  # of each step, mean per supervised token, as computed before its update
    matrix_rate: float  # operations per second of a square bf16 product, before training
    peak_memory_bytes: int  # of the GPU's allocator; 0 on a CPU
    device: str
    versions: dict[str, str] = field(default_factory=dict)


class StepTimes:
    """Wall and CPU time at the end of each step, once the device is done."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.ends: list[tuple[float, float]] = []

    def step_ended(self) -> None:
        if self.where == "cuda":
            torch.cuda.synchronize()
        self.ends.append((time.perf_counter(), time.process_time()))

    def timed(self, warm_up: int) -> tuple[float, float]:
        """Seconds from the end of the last step of warm-up to the end of the last."""
        (began, cpu_began), (ended, cpu_ended) = self.ends[warm_up - 1], self.ends[-1]
        return ended - began, cpu_ended - cpu_began


def answer(job: GpuJob, clock: StepTimes, losses: list[float], rate: float, versions: dict[str, str]) -> str:
    """The measurement as JSON."""
    seconds, cpu_seconds = clock.timed(job.warm_up)
    on_gpu = job.where == "cuda"
    peak, name = (torch.cuda.max_memory_allocated(), torch.cuda.get_device_name()) if on_gpu else (0, "CPU")
    return json.dumps(asdict(GpuMeasurement(seconds, cpu_seconds, sum(job.documents) * job.steps, losses, rate, peak, name, versions)))


@torch.no_grad()
def same_weights(root: torch.nn.Module) -> None:
    """Every matrix of a model, adapters included, from its own name: so two processes start alike without a file between them.

    Norms, biases and LoRA's B stay as they were made (ones and zeros). All are rounded to bf16, whatever they are kept in.
    """
    for name, parameter in root.named_parameters():
        if parameter.ndim < 2 or "lora_B" in name:
            continue
        for added in ("base_model.model.", ".base_layer", ".default"):
            name = name.replace(added, "")
        generator = torch.Generator(parameter.device).manual_seed(zlib.crc32(name.encode()))
        values = torch.randn(parameter.shape, generator=generator, device=parameter.device, dtype=torch.float32)
        parameter.copy_((0.02 * values).to(torch.bfloat16))


@torch.inference_mode()
def matrix_rate(where: str, size: int) -> float:
    """Operations per second of the fastest square product in bf16."""
    one, other = (torch.randn(size, size, device=where, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / min(seconds_of(lambda: one @ other, where) for _ in range(5))


def seconds_of(compute: Callable[[], object], where: str, times: int = 10) -> float:
    """Of one call, in a row of so many."""
    compute()
    if where == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(times):
        compute()
    if where == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / times
