"""Forecasts of a run's memory from a model's config alone: one pass is traced, the rest is arithmetic. Forecasts, not measurements.

Bytes of one process, by what they are for:

    process       what Python and its libraries hold before there is a model (0 on a GPU)
    weights       in the types that the precision policy keeps them, with the copies that autocast makes of those that train; with
                  `offload_frozen_weights` without what lies in main memory, and with the buffers that it is copied to
    gradients     of what trains, in its own type; with `optimizer_in_backward` none is kept
    optimiser     per trained parameter: 8 for Adam's two moments; 2 and 8 per block of 256 for `adamw_8bit`; 4 for `muon` on matrices;
                  4 per row and per column for `adafactor`
    activations   what the pass keeps for its backward pass, and what is on its way at the peak
    logits        numbers per target and word of the vocabulary; in chunks of 4,096 targets
    temporary     what the backward pass makes and drops, at the peak
    kernels       bf16 on a CPU alone: oneDNN compiles a product anew for every shape and keeps 1,024 of them, about 1.75 MB each; three
                  for each number of targets (the LM head), three for each shape of batch and of linear layer. The size was fitted to
                  one machine (1.28, 1.82 and 2.62 GB at the peak after 50, 120 and 400 thousand tokens of recipes/train-lora.yaml).

Their sum is the peak of training. `loading` is that before it: a base that is kept in bf16 is loaded in float32 first where it is not
published in bf16, on a CPU; a GPU never sees that. `reloading` is that after it, when what was saved is loaded in the place of what was
trained, and compared. `generation` is that of answering with the tuned model, and `disk` what the run folder may hold at once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from codetune.batches import IGNORED, Batch
from codetune.config import DecodingConfig, FullConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig, TrainConfig
from codetune.methods import Adapted, attach
from codetune.models.attention import use_document_attention
from codetune.models.families import Family, family_of, targets_of
from codetune.models.forecast import Pass
from codetune.models.forward import as_run, logits_of, summed_loss
from codetune.models.load import no_dropout
from codetune.models.machine import prefill_tokens, process_bytes
from codetune.models.offloading import offloaded_bytes
from codetune.models.outline import Outline, outline_of, without_data
from codetune.models.seq2seq import Pairs, answer_states, pairs_of
from codetune.train.four_bit import in_four_bits
from codetune.train.optimizer import is_matrix
from codetune.train.precision import autocast, product_dtype
from codetune.train.ready import make_ready, refuse_to_offload
from codetune.train.trace import Traced, trace

KERNELS_KEPT, KERNEL_BYTES = 1024, 1_750_000
DEPTHS = (3, 4)  # layers that are traced where all are alike: the rest is more of the same
_BLOCK_8BIT, _LEAST_8BIT = 256, 4096  # bitsandbytes: numbers that share a scale; smaller tensors stay in fp32


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """Bytes, by what they are for; see the module."""

    process: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    temporary: int
    kernels: int
    loading: int = 0
    reloading: int = 0
    generation: int = 0
    disk: int = 0

    @property
    def training(self) -> int:
        """The peak of the steps themselves."""
        used = (self.weights, self.gradients, self.optimiser, self.activations, self.logits, self.temporary)
        return self.process + self.kernels + sum(used)

    @property
    def peak(self) -> int:
        """The peak of the whole run."""
        return max(self.training, self.loading, self.reloading)


@dataclass(frozen=True, slots=True)
class Shaped:
    """A method on a model without data."""

    adapted: Adapted
    family: Family
    base_parameters: int


def forecast_memory(
    config: Any, method: MethodConfig, train: TrainConfig, batches: Sequence[Batch], passes: Iterable[Pass] = (), gpu: bool = False,
    decoding: DecodingConfig | None = None,
) -> MemoryForecast:  # fmt: skip
    """The peaks of a run of this model whose largest micro-batches are `batches`, and whose passes have these shapes.

    `config` is the model's own (transformers'). Raises UserError where the method cannot be had on the model.
    """
    again = not train.optimizer_in_backward and train.batch_tokens > max(int((batch.documents > 0).sum()) for batch in batches)
    outline = outline_of(without_data(config))
    depth = outline.family.num_layers
    even = not outline.family.encoder_decoder and not isinstance(method, PrefixTuningConfig)
    # Gradients that come as activations go: where all weights have some, the peak moves with the depth.
    if even and depth > DEPTHS[1] and (again or not isinstance(method, FullConfig)):
        few, more = (_at_depth(config, layers, method, train, batches, gpu, again) for layers in DEPTHS)
        found = few.at(more, DEPTHS, depth)
    else:
        found = _at_depth(config, depth, method, train, batches, gpu, again)
    process = 0 if gpu else process_bytes()
    base = found.resident if isinstance(method, FullConfig) else found.resident - found.all_gradients  # as much as what trains itself
    if not gpu and _widened_first(config, method, train):
        base = 4 * found.base_parameters
    in_pass = found.weights + found.gradients + found.activations + found.logits + found.temporary
    kept_gradients = 0 if train.optimizer_in_backward else found.all_gradients
    in_step = found.resident + kept_gradients + found.step_temporary
    parts = {name: getattr(found, name) for name in ("weights", "gradients", "activations", "logits", "temporary")}
    if in_step > in_pass:
        parts = {"weights": found.resident, "gradients": kept_gradients, "activations": 0, "logits": 0}
        parts["temporary"] = found.step_temporary
    return MemoryForecast(
        process=process, **parts, optimiser=found.optimiser, kernels=_kernel_bytes(outline, train, set(passes), gpu),
        loading=process + base, reloading=process + found.resident,
        generation=process + found.resident + _generation_bytes(outline, method, train, decoding or DecodingConfig(), gpu),
        disk=_disk_bytes(outline, method, train, found),
    )  # fmt: skip


def _widened_first(config: Any, method: MethodConfig, train: TrainConfig) -> bool:
    """Whether a base that is to be frozen in bf16 is in float32 first: see `models.load`."""
    halved = train.precision == "bf16" and not isinstance(method, FullConfig) and not _four_bit(method)
    return halved and getattr(config, "dtype", None) != torch.bfloat16


def shaped(config: Any, method: MethodConfig, train: TrainConfig, where: str = "cpu") -> Shaped:
    """The model on the meta device with the method on it, in the types that the precision policy keeps."""
    config = copy.deepcopy(config)
    no_dropout(config)
    model = without_data(config)
    with torch.device("meta"):
        use_document_attention(model)
        base = sum(parameter.numel() for parameter in model.parameters())
        adapted = attach(model, _started_simply(method), targets_of(model), [0], 0)
    if _four_bit(method):
        in_four_bits(model, product_dtype(train.precision))
    make_ready(adapted, train.model_copy(update={"offload_frozen_weights": False, "compile": False}), where)
    return Shaped(adapted, family_of(config), base)


def _started_simply(method: MethodConfig) -> MethodConfig:
    """Where a method starts from does not change its size, and some starts need weights: PiSSA's halves are counted as what they are."""
    if isinstance(method, PrefixTuningConfig):
        return method.model_copy(update={"init": "zeros"})
    return method.model_copy(update={"init": "text"}) if isinstance(method, PromptTuningConfig) else method


def _four_bit(method: MethodConfig) -> bool:
    return getattr(method, "quantize", "none") == "nf4"


def _at_depth(
    config: Any, layers: int, method: MethodConfig, train: TrainConfig, batches: Sequence[Batch], gpu: bool, again: bool
) -> _Sums:
    """What the model with so many layers takes."""
    shallow = copy.deepcopy(config)
    if layers != family_of(config).num_layers:
        shallow.num_hidden_layers = layers
        if kinds := getattr(shallow, "layer_types", None):
            shallow.layer_types = list(kinds[:layers])
    found: list[Traced] = []
    for batch in batches:
        made = shaped(shallow, method, train, "cuda" if gpu else "cpu")
        trained = [(name, tuple(p.shape), p.element_size()) for name, p in made.adapted.trained().items()]
        resident = _bytes_of(made.adapted)
        away = _away(made.adapted, train, family_of(config).num_layers, gpu)
        found.append(_traced(made, train, batch, gpu, again))
    worst = max(found, key=lambda one: one.peak)
    numbers = sum(math.prod(shape) for _, shape, _ in trained)
    return _Sums(
        weights=worst.weights - away, resident=resident - away, gradients=worst.gradients, activations=worst.activations,
        logits=worst.logits, temporary=worst.temporary,
        all_gradients=sum(math.prod(shape) * size for _, shape, size in trained), optimiser=optimiser_bytes(trained, train),
        step_temporary=step_bytes(trained, train), base_parameters=made.base_parameters, trained_parameters=numbers,
    )  # fmt: skip


def _away(adapted: Adapted, train: TrainConfig, layers: int, gpu: bool) -> int:
    """Bytes of frozen weights that are not on the device, less the buffers for them: on a CPU, where both are one memory, more are."""
    if not train.offload_frozen_weights:
        return 0
    refuse_to_offload(adapted.method, train)
    own, buffers = offloaded_bytes(adapted.model, min(train.offload_buffers, layers))
    return own - buffers if gpu else -buffers


def _traced(made: Shaped, train: TrainConfig, batch: Batch, gpu: bool, again: bool) -> Traced:
    """One pass of the real loss. Of an encoder-decoder model all places of the answers count for it, padding too: a little more logits."""
    adapted, family = made.adapted, made.family

    def loss(there: Any) -> torch.Tensor:
        with autocast(train, torch.device("cpu")):
            return _loss_of_pairs(adapted.model, there) if family.encoder_decoder else summed_loss(adapted, family, there)

    given = pairs_of(batch, family) if family.encoder_decoder else as_run(adapted, family, batch)
    inside = (lambda name, p: step_bytes([(name, tuple(p.shape), p.element_size())], train)) if train.optimizer_in_backward else None
    return trace(adapted, loss, given, family.vocab_size, gpu, again, inside)


def _loss_of_pairs(model: Any, pairs: Pairs) -> torch.Tensor:
    logits = logits_of(model, answer_states(model, pairs).flatten(0, 1)).float()
    return torch.nn.functional.cross_entropy(logits, pairs.labels.flatten(), reduction="sum", ignore_index=IGNORED)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Bytes of a model of one depth: of a pass at its peak, and of what is there between passes."""

    weights: int
    gradients: int
    activations: int
    logits: int
    temporary: int
    all_gradients: int
    optimiser: int
    step_temporary: int
    base_parameters: int
    trained_parameters: int
    resident: int  # weights without the copies that autocast makes

    def at(self, other: _Sums, depths: tuple[int, int], depth: int) -> _Sums:
        """The same for a model of another depth: self and other are of `depths`, and every layer adds as much as the last did."""
        steps = (depth - depths[0]) / (depths[1] - depths[0])
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return _Sums(**{name: round(value + steps * (getattr(other, name) - value)) for name, value in values.items()})


def optimiser_bytes(trained: Sequence[tuple[str, tuple[int, ...], int]], train: TrainConfig) -> int:
    """What the optimiser keeps of its own for parameters of these names, shapes and bytes per number."""
    return sum(_state_bytes(name, shape, train) for name, shape, _ in trained)


def _state_bytes(name: str, shape: tuple[int, ...], train: TrainConfig) -> int:
    count = math.prod(shape)
    match train.optimizer:
        case "adamw_8bit" if count >= _LEAST_8BIT:
            return 2 * count + 2 * 4 * -(-count // _BLOCK_8BIT)
        case "adafactor" if len(shape) >= 2:
            return 4 * (count // shape[-1] + count // shape[-2])
        case "adafactor":
            return 4 * count
        case "muon" if is_matrix(name, len(shape)):
            return 4 * count
    return 8 * count


def step_bytes(trained: Sequence[tuple[str, tuple[int, ...], int]], train: TrainConfig) -> int:
    """What one step of the optimiser makes and drops: for bf16 weights a tensor widened with its gradient, for Muon its products."""
    largest = max((math.prod(shape) for _, shape, _ in trained), default=0)
    widened = 20 * max((math.prod(shape) for _, shape, size in trained if size == 2), default=0)
    if train.optimizer == "muon":
        matrices = [math.prod(shape) for name, shape, _ in trained if is_matrix(name, len(shape))]
        return max(widened, 12 * max(matrices, default=0))
    return max(widened, 12 * largest if train.optimizer == "adafactor" else 0)


def _bytes_of(adapted: Adapted) -> int:
    """Parameters and buffers, what is tied once."""
    found = {id(tensor): tensor.numel() * tensor.element_size() for tensor in (*adapted.root.parameters(), *adapted.root.buffers())}
    return sum(found.values())


def _kernel_bytes(outline: Outline, train: TrainConfig, passes: set[Pass], gpu: bool) -> int:
    if not train.precision.startswith("bf16") or gpu:
        return 0
    shapes = {(linear.inputs, linear.outputs) for linear in outline.linears}
    kernels = 3 * len({one.targets for one in passes}) + 3 * len(shapes) * len({(one.rows, one.width) for one in passes})
    return min(kernels, KERNELS_KEPT) * KERNEL_BYTES


def _generation_bytes(outline: Outline, method: MethodConfig, train: TrainConfig, decoding: DecodingConfig, gpu: bool) -> int:
    """In float32: keys and values of a batch, its logits while a token is chosen, and a pass of prompts through the widest layer."""
    family, virtual = outline.family, getattr(method, "num_virtual_tokens", 0)
    prompt = min(train.max_seq_len, family.max_positions - virtual - 1)
    capacity = min(virtual + prompt + decoding.max_new_tokens, family.max_positions)
    cache = 2 * family.num_layers * family.kv_heads * family.head_dim * capacity
    widest = max(linear.outputs for linear in outline.linears)
    tokens = min(decoding.batch_size * prompt, max(prompt, prefill_tokens("cuda" if gpu else "cpu")))
    pass_through = tokens * (4 * family.hidden_size + 3 * widest + capacity // 2)
    return 4 * (decoding.batch_size * (cache + 3 * family.vocab_size) + pass_through)


def _disk_bytes(outline: Outline, method: MethodConfig, train: TrainConfig, found: _Sums) -> int:
    """Checkpoints kept and the one that is being written, the best weights, and what is saved in the end."""
    weights = found.all_gradients  # of what trains, in its own type
    best = weights if train.keep == "best" else 0
    return (train.checkpoints_kept + 1) * (weights + found.optimiser) + 2 * best + weights
