"""Forecasts of a training run's memory and time, from shapes alone: no weights are loaded. Forecasts, not measurements.

Memory, in bytes, of one process that trains in float32 (w = 4), or with matrix products in bf16 (w = 2):

    process       what Python and its libraries hold before there is a model (0 on a GPU)
    weights       4 per parameter; with bf16 products 2 per frozen linear parameter, and 2 more per trained one (autocast's copy)
    gradients     4 per trained parameter
    optimiser     8 per trained parameter (Adam's two moments; too much for Muon, which keeps one for matrices)
    activations   of the largest micro-batch, R rows x T tokens, T with prompt-tuning's virtual tokens:
                  R T x (w x (inputs and outputs of all linear layers + c x the widest of them x layers) + 8 x hidden size x layers).
                  c copies stand for the function between two layers (1; 3 where it is written out, as GPT-2's gelu_new), the last
                  term for the norms. Under a soft prompt the inputs of frozen layers are not kept. LoRA adds w x rank for each
                  target. Masks: R T S x (1 + w x layers) for S keys, prefix-tuning's among them, as torch turns them from bool to
                  numbers in each layer. (Within 0.65 to 1.25 of what autograd keeps for GPT-2, Llama, Mistral and Falcon shapes.)
    kernels       bf16 on a CPU alone: oneDNN compiles a product anew for every shape and keeps 1,024 of them, about 1.75 MB each; three
                  for each number of targets (the LM head), three for each shape of batch and of linear layer. The size was fitted to
                  one machine (1.28, 1.82 and 2.62 GB at the peak after 50, 120 and 400 thousand tokens of recipes/train-lora.yaml).
    logits        4 per target and word of the vocabulary (log-probabilities), and 8 more for 4,096 of the targets (gradients)

The peak is forecast as the sum. Gradients grow while activations shrink, so it is never quite reached; what the allocator loses
is not in it.

Time: the multiply-adds of all micro-batches in linear layers, attention and LM head (targets alone), two operations each; three times
over for layers that train (forward, backward for inputs, backward for weights), twice where they are frozen, once in validation;
divided by the rate of a product of the model's own shape, measured here, times UTILISATION, the share of that rate which training
reaches: norms, softmax, rotation, masks and the optimiser are no products. Measured on one CPU core with the shipped model's shape, rows
of 512, for full / LoRA / prefix-tuning: 0.70 / 0.58 / 0.65 in fp32 and 0.49 / 0.39 / 0.38 in bf16.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil
import torch

from codetune.config import FullConfig, LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig, TrainConfig
from codetune.models.forward import LOSS_CHUNK_TOKENS
from codetune.models.machine import device
from codetune.models.outline import Outline, lora_targets, trained_parameters

UTILISATION = {"fp32": 0.6, "bf16": 0.42}
MEASURED_S = 0.5
KERNELS_KEPT, KERNEL_BYTES = 1024, 1_750_000


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: `rows` padded to `width` text tokens, `targets` of them under the loss."""

    rows: int
    width: int
    targets: int


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """Bytes, by what they are for."""

    process: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    kernels: int
    logits: int

    @property
    def peak(self) -> int:
        return self.process + self.weights + self.gradients + self.optimiser + self.activations + self.kernels + self.logits


def forecast_memory(outline: Outline, method: MethodConfig, train: TrainConfig, passes: Iterable[Pass]) -> MemoryForecast:
    """The peak of a training run with these forward passes."""
    trained = trained_parameters(outline, method)
    distinct = set(passes)
    return MemoryForecast(
        process=0 if torch.cuda.is_available() else psutil.Process().memory_info().rss,
        weights=_weight_bytes(outline, method, train, trained),
        gradients=4 * trained,
        optimiser=8 * trained,
        activations=max(activation_bytes(outline, method, train, one) for one in distinct),
        kernels=_kernel_bytes(outline, train, distinct),
        logits=max(4 * (one.targets + 2 * min(one.targets, LOSS_CHUNK_TOKENS)) for one in distinct) * outline.family.vocab_size,
    )


def activation_bytes(outline: Outline, method: MethodConfig, train: TrainConfig, one: Pass) -> int:
    """What one forward pass keeps for its backward pass, logits aside."""
    family, width = outline.family, _width(train)
    soft = isinstance(method, PromptTuningConfig | PrefixTuningConfig)
    queries, keys = _attention_span(method, one)
    kept = sum(linear.outputs + (0 if soft else linear.inputs) for linear in outline.linears)
    if isinstance(method, LoraConfig):
        kept += method.lora_rank * len(lora_targets(outline, method))
    kept += outline.activation_copies * max(linear.outputs for linear in outline.linears) * family.num_layers
    per_token = width * kept + 8 * family.hidden_size * family.num_layers
    return one.rows * queries * (per_token + keys * (1 + width * family.num_layers))


def forecast_seconds(
    outline: Outline, method: MethodConfig, train: TrainConfig, passes: Iterable[Pass], validation: Iterable[Pass], operations_per_s: float
) -> float:
    """Training time with validation, at a measured rate of matrix products."""
    factor = 3 if isinstance(method, FullConfig) else 2
    trained = sum(_operations(outline, method, one, factor) for one in passes)
    validated = sum(_operations(outline, method, one, 1) for one in validation)
    return (trained + validated) / (operations_per_s * UTILISATION[train.precision])


def measure_rate(outline: Outline, train: TrainConfig, tokens: int, seconds: float = MEASURED_S) -> float:
    """Operations per second of matrix products of the model's own width on this machine: the fastest of those in `seconds`.

    The fastest, because whatever else runs on the machine makes the others slower.
    """
    dtype = torch.bfloat16 if train.precision == "bf16" else torch.float32
    widest = max(outline.linears, key=lambda linear: linear.inputs * linear.outputs)
    inputs = torch.randn(tokens, widest.inputs, dtype=dtype, device=device())
    weight = torch.randn(widest.inputs, widest.outputs, dtype=dtype, device=device())
    fastest, begun = math.inf, time.perf_counter()
    while time.perf_counter() - begun < seconds or fastest == math.inf:
        started = time.perf_counter()
        inputs @ weight
        if device() == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * tokens * widest.inputs * widest.outputs / fastest


def memory_there_is() -> int:
    """Bytes to train in: the first GPU's, or the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().total)


def largest(passes: Sequence[Pass]) -> Pass:
    """The pass with the most tokens, padding included."""
    return max(passes, key=lambda one: one.rows * one.width)


def _operations(outline: Outline, method: MethodConfig, one: Pass, factor: int) -> int:
    family = outline.family
    queries, keys = _attention_span(method, one)
    products = one.rows * queries * (outline.linear_parameters + 2 * keys * outline.heads * family.head_dim * family.num_layers)
    products += one.targets * family.hidden_size * family.vocab_size
    adapters = trained_parameters(outline, method) * one.rows * queries if isinstance(method, LoraConfig) else 0
    return 2 * (factor * products + (factor + 1) * adapters)


def _attention_span(method: MethodConfig, one: Pass) -> tuple[int, int]:
    """Queries and keys of a row: prompt-tuning's virtual tokens are both, prefix-tuning's keys alone."""
    virtual = getattr(method, "num_virtual_tokens", 0)
    return one.width + (virtual if isinstance(method, PromptTuningConfig) else 0), one.width + virtual


def _weight_bytes(outline: Outline, method: MethodConfig, train: TrainConfig, trained: int) -> int:
    if isinstance(method, FullConfig):
        return 4 * outline.parameters + (2 * outline.linear_parameters if train.precision == "bf16" else 0)
    frozen = 4 * outline.parameters - (2 * outline.linear_parameters if train.precision == "bf16" else 0)
    return frozen + (6 if train.precision == "bf16" else 4) * trained


def _kernel_bytes(outline: Outline, train: TrainConfig, passes: set[Pass]) -> int:
    if train.precision != "bf16" or torch.cuda.is_available():
        return 0
    shapes = {(linear.inputs, linear.outputs) for linear in outline.linears}
    kernels = 3 * len({one.targets for one in passes}) + 3 * len(shapes) * len({(one.rows, one.width) for one in passes})
    return min(kernels, KERNELS_KEPT) * KERNEL_BYTES


def _width(train: TrainConfig) -> int:
    return 2 if train.precision == "bf16" else 4
