"""What one measurement is told and what it answers: plain JSON between processes, so that peers need nothing of codetune.

Standard library only: this module is also imported inside the peers' environment.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class System:
    """One way to train: whose code, and with which of its settings."""

    name: str
    peer: bool
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: products in bf16, weights in fp32
    checkpointing: bool = False  # activations computed again in the backward pass
    padding_free: bool = False  # TRL's flattened batches: right for full and LoRA, not for soft prompts
    concatenated: bool = False  # codetune's rows cut from one stream, documents see each other, instead of exact packing
    packing: bool = False  # TRL's `packing=True`, so many rows a pass as codetune
    by_hand: bool = False  # transformers and PEFT in a loop of ten lines, without TRL
    fast: bool = True  # codetune's own faster computations (`train.fast`)
    compile: bool = False  # codetune's layers compiled (`train.compile`)
    about: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One training run, the same for every system: model, start, tokens, steps, optimiser."""

    system: System
    method: str
    model: str  # folder of the base model in float32, dropout 0
    adapter: str | None  # folder of the adapter's start in PEFT's format; None for full fine-tuning
    start_ids: list[int]  # what codetune makes the same start from
    ids: list[list[int]]  # the examples in order; each optimiser step takes the next `examples_per_step`
    prompt_lengths: list[int]  # so many first tokens of each example carry no loss
    examples_per_step: int
    learning_rate: float
    row_tokens: int  # codetune's packed row
    rows_per_pass: int  # codetune's rows per forward pass
    examples_per_pass: int  # the peer's batch
    scratch: str  # a folder to write to
    beta2: float = 0.98
    max_grad_norm: float = 1.0
    threads: int = 1
    keep: str | None = None  # a folder to save what was trained to

    @property
    def steps(self) -> list[range]:
        """Example numbers of each optimiser step."""
        size = self.examples_per_step
        return [range(at, min(at + size, len(self.ids))) for at in range(0, len(self.ids), size)]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def timed_tokens(self) -> int:
        """Text tokens of all steps but the first, which warms up."""
        return sum(map(len, self.ids[self.examples_per_step :]))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Job:
        values: dict[str, Any] = json.loads(path.read_text())
        return cls(**{**values, "system": System(**values["system"])})


@dataclass(slots=True)
class StepClock:
    """CPU and wall seconds from the end of the first step (warm-up) to the end of the last."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def step_ended(self) -> None:
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())

    @property
    def seconds(self) -> tuple[float, float]:
        return self.cpu[-1] - self.cpu[0], self.wall[-1] - self.wall[0]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one process measured. `tokens_seen` is the system's own count of text tokens, warm-up included."""

    cpu_seconds: float
    wall_seconds: float
    losses: list[float]  # mean per supervised token, one per step
    tokens_seen: int
    peak_memory_bytes: int  # of the whole process, imports included
    versions: dict[str, str]
    cpu_at: list[float] = field(default_factory=list)  # CPU seconds from the end of the first step to the end of each


def measured(clock: StepClock, losses: list[float], tokens_seen: int, versions: dict[str, str]) -> Measurement:
    """The measurement that a worker's clock and counts make."""
    cpu, wall = clock.seconds
    since = [at - clock.cpu[0] for at in clock.cpu]
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Measurement(cpu, wall, losses, tokens_seen, peak, {"python": sys.version.split()[0], **versions}, since)


def answer(measurement: Measurement) -> str:
    return json.dumps(dataclasses.asdict(measurement))
