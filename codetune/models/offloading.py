"""Frozen weights of a model's layers kept in main memory, and copied to the device layer by layer just before they are multiplied.

The device has a few buffers, each as large as the largest layer; while one layer computes, the next one's weights are on their way (on
a GPU: from pinned memory, on a stream of its own), in forward order, and backwards for the backward pass. The numbers are those of a
model that lies on the device whole, bit for bit, as nothing but the place of the weights changes. Autograd keeps of a weight which layer
it is of and where in it, never the tensor, and gets it anew in the backward pass: so a buffer can be filled again once its layer is done.

Outside its layer's own pass a weight is what lies in main memory: it can be read, compared and saved there. On a CPU the buffers are main
memory, too, and filled at once: slower than without and of no use, but the same code.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from codetune.errors import UserError
from codetune.models.checkpointing import computed_twice

BUFFERS = 2
_ATTRIBUTE = "codetune_offloaded"
_ALIGNMENT = 256  # bytes; as allocators have it, so that kernels find what they would find


def offload_layers(model: Any, root: torch.nn.Module, where: str, buffers: int = BUFFERS) -> None:
    """Keep what is frozen of the model's layers in main memory from now on, and all else of `root` on the device `where`.

    To be called again once a method has changed what is frozen, or weights have got another type. Raises UserError where a model has no
    such layers, weights that are packed, or memory that cannot be pinned.
    """
    layers = layers_of(model)
    stream: WeightStream | None = getattr(model, _ATTRIBUTE, None)
    if stream is None:
        stream = WeightStream(layers, torch.device(where), buffers, functools.partial(computed_twice, model))
        setattr(model, _ATTRIBUTE, stream)
        for number, layer in enumerate(layers):
            layer.forward = functools.partial(stream.through, number, layer.forward)
    stream.settle()
    kept = stream.offloaded
    for module in root.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in kept:
                parameter.data = parameter.data.to(where)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = buffer.to(where)


def offloading_of(model: Any) -> WeightStream | None:
    """What feeds a model's layers; None where they lie on the device."""
    found: WeightStream | None = getattr(model, _ATTRIBUTE, None)
    return found


def layers_of(model: Any) -> list[torch.nn.Module]:
    """A model's layers in the order in which they are passed. Raises UserError where there are none that are known to be such."""
    layers: list[torch.nn.Module] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"offload_frozen_weights: {model.config.model_type} has no layers that are known to come in order; leave it out")
    return layers


def frozen_in(layers: Sequence[torch.nn.Module]) -> list[list[torch.nn.Parameter]]:
    """Each layer's frozen parameters; those that several layers share are nobody's."""
    owners = Counter(id(parameter) for layer in layers for parameter in layer.parameters())
    return [[p for p in layer.parameters() if not p.requires_grad and owners[id(p)] == 1] for layer in layers]


def layer_bytes(parameters: Sequence[torch.Tensor]) -> int:
    """What a layer's frozen parameters take in a buffer."""
    return sum(map(_aligned, parameters))


def offloaded_bytes(model: Any, buffers: int) -> tuple[int, int]:
    """(bytes of the layers' frozen weights, bytes of so many buffers that stand in for them), of a model that may be without data."""
    layers = frozen_in(layers_of(model))
    own = sum(p.numel() * p.element_size() for parameters in layers for p in parameters)
    return own, buffers * max(map(layer_bytes, layers))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in its layer's memory a parameter is, in bytes."""

    parameter: torch.nn.Parameter
    start: int
    stop: int
    dtype: torch.dtype
    shape: torch.Size


@dataclass(slots=True, weakref_slot=True)
class _Stored:
    """A layer's weights in main memory, one after the other."""

    memory: torch.Tensor
    places: list[_Place] = field(default_factory=list)

    def put_in(self, memory: torch.Tensor) -> None:
        """Let the layer's parameters lie in this piece of memory, which is filled as its own is."""
        for place in self.places:
            place.parameter.data = memory[place.start : place.stop].view(place.dtype).view(place.shape)


@dataclass(slots=True)
class _Buffer:
    memory: torch.Tensor
    layer: int = -1
    used: int = 0  # when, on a clock that counts layers
    filled: Any = None  # a CUDA event


@dataclass(frozen=True, slots=True)
class _Handle:
    """What autograd keeps of a weight, or of a view of one: which elements of which layer's buffer it is."""

    layer: int
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


class WeightStream:
    """Brings layers' weights to the device. `twice` says whether layers are computed again in the backward pass."""

    def __init__(self, layers: Sequence[torch.nn.Module], device: torch.device, buffers: int, twice: Callable[[], bool]) -> None:
        self.copied = 0  # layers brought so far
        self._layers, self._device, self._count, self._twice = list(layers), device, min(buffers, len(layers)), twice
        self._stored: list[_Stored] = []
        self._buffers: list[_Buffer] = []
        self._present, self._clock = -1, 0
        self._copies: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def offloaded(self) -> set[int]:
        """Ids of the parameters that are kept in main memory."""
        return {id(place.parameter) for stored in self._stored for place in stored.places}

    @property
    def buffer_bytes(self) -> int:
        """What all buffers take on the device."""
        return sum(buffer.memory.numel() for buffer in self._buffers)

    @property
    def storages(self) -> set[int]:
        """Addresses of the buffers."""
        return {buffer.memory.untyped_storage().data_ptr() for buffer in self._buffers}

    def settle(self) -> None:
        """Take over what is frozen now, as it is now. To be called, too, once values were changed in place: buffers are filled anew."""
        if self._copies is not None:
            self._copies.synchronize()  # what it reads, and what it writes to, may be let go here
        frozen = self._frozen()
        before: list[_Stored | None] = [*self._stored] or [None] * len(frozen)
        self._stored = [
            stored if stored is not None and _holds(stored, parameters) else self._store(parameters)
            for stored, parameters in zip(before, frozen, strict=True)
        ]
        largest = max(len(stored.memory) for stored in self._stored)
        if not self._buffers or len(self._buffers[0].memory) != largest:
            self._buffers = []  # first, so that the old ones are gone before the new ones come
            self._buffers = [_Buffer(torch.empty(largest, dtype=torch.uint8, device=self._device)) for _ in range(self._count)]
        for buffer in self._buffers:
            buffer.layer = -1
        self._present = -1

    def release(self) -> None:
        """Let all weights go, here and on the device."""
        if self._copies is not None:
            self._copies.synchronize()
        self._stored, self._buffers = [], []

    def through(self, number: int, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A layer's forward pass with its weights on the device; they are in main memory again afterwards."""
        if not _holds(self._stored[number], [place.parameter for place in self._stored[number].places]):
            self.settle()  # somebody has put other values in the place of the parameters'
        stored, buffer = self._stored[number], self._fetch(number, wrap=not torch.is_grad_enabled())
        stored.put_in(buffer.memory)
        try:
            if not torch.is_grad_enabled() or self._twice():
                return forward(*args, **kwargs)  # what is kept of a layer that is computed twice is kept by the checkpoint around it
            with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
                return forward(*args, **kwargs)
        finally:
            stored.put_in(stored.memory)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor | _Handle:
        place = tensor.untyped_storage().data_ptr()
        for buffer in self._buffers:
            if buffer.memory.untyped_storage().data_ptr() == place:
                return _Handle(buffer.layer, tensor.dtype, tensor.shape, tensor.stride(), int(tensor.storage_offset()))
        return tensor.detach() if tensor.grad_fn is not None else tensor  # an output that keeps itself would never be freed

    def _unpack(self, kept: torch.Tensor | _Handle) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        memory = self._fetch(kept.layer).memory
        return memory.view(kept.dtype).as_strided(kept.shape, kept.stride, kept.offset)

    def _fetch(self, number: int, wrap: bool = False) -> _Buffer:
        """The buffer with a layer's weights; what will be wanted next is then on its way, after the last layer the first if `wrap`."""
        if number == self._present:
            return next(buffer for buffer in self._buffers if buffer.layer == number)
        direction = -1 if number == self._present - 1 else 1  # a backward pass goes one back, the next forward pass to the first
        self._present = number
        self._clock += 1
        buffer = self._filled(number)
        if buffer.filled is not None:
            torch.cuda.current_stream(self._device).wait_event(buffer.filled)
        for distance in range(1, self._count):
            ahead = number + direction * distance
            if 0 <= ahead < len(self._stored) or wrap:
                self._filled(ahead % len(self._stored))
        return buffer

    def _filled(self, number: int) -> _Buffer:
        """A buffer with the layer in it, or on its way there: in place of the one that was wanted longest ago."""
        buffer = next((one for one in self._buffers if one.layer == number), None)
        if buffer is None:
            buffer = min((one for one in self._buffers if one.layer != self._present), key=lambda one: one.used)
            self._copy(self._stored[number].memory, buffer)
            buffer.layer = number
        buffer.used = self._clock
        return buffer

    def _copy(self, source: torch.Tensor, buffer: _Buffer) -> None:
        self.copied += 1
        if self._copies is None:
            buffer.memory[: len(source)].copy_(source)
            return
        self._copies.wait_stream(torch.cuda.current_stream(self._device))  # whose kernels may still read what lies in the buffer
        with torch.cuda.stream(self._copies):
            buffer.memory[: len(source)].copy_(source, non_blocking=True)
            buffer.filled = torch.cuda.Event()  # type: ignore[no-untyped-call]
            buffer.filled.record(self._copies)

    def _frozen(self) -> list[list[torch.nn.Parameter]]:
        """As `frozen_in`; before a method is there, all is."""
        found = frozen_in(self._layers)
        if not any(found):
            owners = Counter(id(parameter) for layer in self._layers for parameter in layer.parameters())
            found = [[p for p in layer.parameters() if owners[id(p)] == 1] for layer in self._layers]
        if packed := sorted({str(p.dtype) for parameters in found for p in parameters if not p.is_floating_point()}):
            raise UserError(f"offload_frozen_weights: weights packed as {', '.join(packed)} stay on the device: use method.quantize=none")
        return found

    def _store(self, parameters: Sequence[torch.nn.Parameter]) -> _Stored:
        """Parameters' values in one piece of main memory, which they are from now on."""
        stored = _Stored(torch.empty(layer_bytes(parameters), dtype=torch.uint8))
        if self._device.type == "cuda":
            _pin(stored)
        at = 0
        for parameter in parameters:
            value = parameter.data
            stored.places.append(_Place(parameter, at, at + value.numel() * value.element_size(), value.dtype, value.shape))
            stored.memory[at : stored.places[-1].stop].view(value.dtype).view(value.shape).copy_(value)
            at += _aligned(parameter)
        stored.put_in(stored.memory)
        return stored


def _holds(stored: _Stored, parameters: Sequence[torch.nn.Parameter]) -> bool:
    """Whether these parameters, and no others, lie there as they are now."""
    begin, end = stored.memory.data_ptr(), stored.memory.data_ptr() + len(stored.memory)
    same = [id(place.parameter) for place in stored.places] == list(map(id, parameters))
    return same and all(begin <= p.data_ptr() < end for p in parameters)


def _aligned(tensor: torch.Tensor) -> int:
    return math.ceil(tensor.numel() * tensor.element_size() / _ALIGNMENT) * _ALIGNMENT


def _pin(stored: _Stored) -> None:
    """Lock memory for copies that do not wait, as it is: torch's own pinned memory comes in powers of two, a quarter more for 7B models."""
    memory = stored.memory
    if int(_runtime().cudaHostRegister(memory.data_ptr(), memory.numel(), 0)):
        raise UserError(
            f"offload_frozen_weights: {memory.numel() / 1e9:.2f} GB of main memory could not be pinned: free some, or leave it out"
        )
    weakref.finalize(stored, _unpin, memory)


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _unpin(memory: torch.Tensor) -> None:
    """The memory is held until here, so that none is freed while it is locked."""
    _runtime().cudaHostUnregister(memory.data_ptr())
