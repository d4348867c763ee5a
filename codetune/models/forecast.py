"""Forecasts of a training run's time, from shapes alone; memory is in `codetune.train.memory`. Forecasts, not measurements.

The multiply-adds of all micro-batches in linear layers, attention and LM head (targets alone), two operations each; three times
over for layers that train (forward, backward for inputs, backward for weights), twice where they are frozen, once more with activation
checkpointing, once in validation; divided by the rate of a product of the model's own shape, measured here, times UTILISATION, the
share of that rate which training reaches: norms, softmax, rotation, masks and the optimiser are no products. Measured on one CPU core
with the shipped model's shape, rows of 512, for full / LoRA / prefix-tuning: 0.70 / 0.58 / 0.65 in fp32 and 0.49 / 0.39 / 0.38 in bf16.
Other methods are taken as those that they are most like: what they add is multiplied as often as what trains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil
import torch

from codetune.config import BottleneckConfig, FullConfig, LoraSettings, MethodConfig, PromptTuningConfig, PTuningConfig, TrainConfig
from codetune.errors import UserError, nearest
from codetune.models.machine import computes_in_bf16, device
from codetune.models.outline import Outline, trained_parameters

UTILISATION = {"fp32": 0.6, "bf16": 0.42}
MEASURED_S = 0.5


GPUS = {  # GB that a process can have; what drivers keep for themselves is off
    "t4": 15.6, "v100": 16.9, "v100-32": 34.0, "p100": 17.0, "l4": 23.6, "a10": 23.8, "a10g": 23.8, "rtx3090": 25.3, "rtx4090": 25.3,
    "rtx5090": 33.7, "l40s": 47.6, "a40": 47.6, "a6000": 50.9, "a100": 84.9, "a100-40": 42.3, "a100-80": 84.9, "h100": 84.9, "h200": 150.0,
    "b200": 191.0,
}  # fmt: skip


_WITHOUT_BF16 = {"t4", "v100", "v100-32", "p100"}  # compute capability under 8


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run is to fit: this machine's main memory or its GPU (`here`), or a GPU that is not here."""

    name: str
    memory_bytes: int
    gpu: bool
    here: bool
    device: str = "cuda"
    bf16: bool = True  # whether it computes in it, which `precision: auto` goes by


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: `rows` padded to `width` text tokens, `targets` of them under the loss."""

    rows: int
    width: int
    targets: int


def forecast_seconds(
    outline: Outline, method: MethodConfig, train: TrainConfig, passes: Iterable[Pass], validation: Iterable[Pass], operations_per_s: float
) -> float:
    """Training time with validation, at a measured rate of matrix products."""
    trained = training_operations(outline, method, train, passes)
    validated = sum(_operations(outline, method, one, 1) for one in validation)
    return (trained + validated) / (operations_per_s * UTILISATION["fp32" if train.precision == "fp32" else "bf16"])


def training_operations(outline: Outline, method: MethodConfig, train: TrainConfig, passes: Iterable[Pass]) -> int:
    """Operations of matrix products (a multiply-add is two) in these passes of a training, forward and backward; see the module."""
    factor = (3 if isinstance(method, FullConfig) else 2) + train.layers_twice
    return sum(_operations(outline, method, one, factor) for one in passes)


def measure_rate(outline: Outline, train: TrainConfig, tokens: int, where: str, seconds: float = MEASURED_S) -> float:
    """Operations per second of matrix products of the model's own width on this machine: the fastest of those in `seconds`.

    The fastest, because whatever else runs on the machine makes the others slower.
    """
    dtype = torch.float32 if train.precision == "fp32" else torch.bfloat16
    widest = max(outline.linears, key=lambda linear: linear.inputs * linear.outputs)
    inputs = torch.randn(tokens, widest.inputs, dtype=dtype, device=where)
    weight = torch.randn(widest.inputs, widest.outputs, dtype=dtype, device=where)
    fastest, begun = math.inf, time.perf_counter()
    while time.perf_counter() - begun < seconds or fastest == math.inf:
        started = time.perf_counter()
        inputs @ weight
        if where == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * tokens * widest.inputs * widest.outputs / fastest


def machine_here(asked: str = "auto") -> Machine:
    """The device that a recipe asks for: the first GPU, or this machine's main memory. Raises UserError for one that is not there."""
    chosen = device(asked)
    bf16 = computes_in_bf16(chosen)
    if chosen == "cuda":
        properties = torch.cuda.get_device_properties(0)
        return Machine(properties.name, int(properties.total_memory), gpu=True, here=True, bf16=bf16)
    return Machine("this machine", int(psutil.virtual_memory().total), gpu=False, here=True, device=chosen, bf16=bf16)


def gpu_called(text: str) -> Machine:
    """A GPU by name (`H100`, `A100-40GB`) or by memory (`24GB`). Raises UserError that lists the names."""
    plain = text.strip().lower().replace("nvidia", "").replace("gb", "").strip(" -_")
    if plain in GPUS:
        return Machine(text, int(GPUS[plain] * 1e9), gpu=True, here=False, bf16=plain not in _WITHOUT_BF16)
    try:
        size = float(plain)
    except ValueError:
        raise UserError(f"no GPU {text!r}: {nearest(plain, list(GPUS))}; or give its memory, as 24GB") from None
    if size <= 0:
        raise UserError(f"--gpu {text}: a GPU's memory is more than 0 GB, as 24GB")
    return Machine(f"a GPU of {size:g} GB", int(size * 1e9), gpu=True, here=False)


def largest(passes: Sequence[Pass]) -> Pass:
    """The pass with the most tokens, padding included."""
    return max(passes, key=lambda one: one.rows * one.width)


def _operations(outline: Outline, method: MethodConfig, one: Pass, factor: int) -> int:
    family = outline.family
    queries, keys = _attention_span(method, one)
    products = one.rows * queries * (outline.linear_parameters + 2 * keys * outline.heads * family.head_dim * family.num_layers)
    products += one.targets * family.hidden_size * family.vocab_size
    adapters = trained_parameters(outline, method) * one.rows * queries if isinstance(method, LoraSettings | BottleneckConfig) else 0
    return 2 * (factor * products + (factor + 1) * adapters)


def _attention_span(method: MethodConfig, one: Pass) -> tuple[int, int]:
    """Queries and keys of a row: prompt-tuning's and P-tuning's virtual tokens are both, prefix-tuning's keys alone."""
    virtual = getattr(method, "num_virtual_tokens", 0)
    return one.width + (virtual if isinstance(method, PromptTuningConfig | PTuningConfig) else 0), one.width + virtual
