"""One real training pass on tensors without data: what it holds at its peak, and for what, without a weight read or computed.

The model is built on torch's meta device, the method attached to it as ever, and the forward and backward passes of a run go through it
as fake tensors: all shapes and types are real, autocast and autograd included, and every piece of memory is counted from when it is
made until it is freed. A GPU that is not here is stood in for: attention by its memory-efficient kernel, and CUDA's own list of
operations that autocast leaves in float32, which is longer than the CPU's.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from codetune.methods import Adapted
from codetune.models.attention import fused_kernels

WEIGHTS, GRADIENTS, ACTIVATIONS, LOGITS, TEMPORARY = "weights", "gradients", "activations", "logits", "temporary"
_ALIGNMENT = {False: 64, True: 512}  # bytes that an allocation is rounded up to: on a CPU, on a GPU


@dataclass(frozen=True, slots=True)
class Traced:
    """Bytes of one pass at its peak, by what they are for; `kept` is what lives at the end of the forward pass, weights aside."""

    weights: int  # with the copies that autocast makes
    gradients: int
    activations: int
    logits: int
    temporary: int
    kept: int

    @property
    def peak(self) -> int:
        return self.weights + self.gradients + self.activations + self.logits + self.temporary


def trace(
    adapted: Adapted, loss: Callable[[Any], torch.Tensor], batch: Any, vocab_size: int, gpu: bool, accumulates: bool,
    steps_in_it: Callable[[str, torch.Tensor], int] | None = None,
) -> Traced:  # fmt: skip
    """Run `loss(batch)` and its backward pass through a model on the meta device, which it turns into a fake one.

    `batch` is a record of tensors: a `Batch`, or the `Pairs` of an encoder-decoder model.

    With `accumulates` the gradients of an earlier micro-batch are there already, as they are in all passes of a step but the first.
    With `steps_in_it` each parameter is updated when its gradient is whole, which is dropped; it says what bytes that takes for a moment.
    """
    mode = FakeTensorMode()
    _made_fake(adapted.root, mode)
    if steps_in_it is not None:
        _step_in_pass(adapted, steps_in_it)
    counter = _Counter(adapted, vocab_size, gpu)
    there = type(batch)(*(_fake(getattr(batch, each.name), mode) for each in fields(batch)))
    with mode, _standing_in_for(gpu):
        adapted.root.train()
        for _ in range(2 if accumulates else 1):
            counter.begin()
            with counter:
                total = loss(there)
                kept = counter.forward_ends()
                _backward(total)
                del total
            counter.gradients_are(adapted)
    at_peak = counter.at_peak
    weights, gradients, activations, logits, temporary = (at_peak[name] for name in (WEIGHTS, GRADIENTS, ACTIVATIONS, LOGITS, TEMPORARY))
    return Traced(weights, gradients, activations, logits, temporary, kept)


def _step_in_pass(adapted: Adapted, steps_in_it: Callable[[str, torch.Tensor], int]) -> None:
    register: Any = torch.Tensor.register_post_accumulate_grad_hook
    for name, parameter in adapted.trained().items():

        def step(whole: torch.Tensor, name: str = name) -> None:
            torch.empty(steps_in_it(name, whole), dtype=torch.uint8)
            whole.grad = None

        register(parameter, step)


def _backward(total: torch.Tensor) -> None:
    """As `total.backward()`, which takes function modes off; layers that are computed anew in it must be so as they were at first."""
    start = (torch.ones_like(total),)
    _engine_run_backward((total,), start, False, False, (), allow_unreachable=True, accumulate_grad=True)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of all storages that live, by category, and what they were when their sum was greatest."""

    def __init__(self, adapted: Adapted, vocab_size: int, gpu: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live: Counter[str] = Counter()
        self.at_peak: Counter[str] = Counter()
        self._storages: dict[int, tuple[str, int]] = {}
        self._weights: set[int] = set()
        self._vocab_size, self._alignment = vocab_size, _ALIGNMENT[gpu]
        self._in_backward = False
        for tensor in (*adapted.root.parameters(), *adapted.root.buffers()):
            self._weights.add(tensor.untyped_storage()._cdata)
            self._count(tensor, WEIGHTS)

    def begin(self) -> None:
        """A pass starts; the peak that counts is that of the last one."""
        self._in_backward = False
        self.at_peak = self.live.copy()

    def forward_ends(self) -> int:
        self._in_backward = True
        return self.live[ACTIVATIONS] + self.live[LOGITS]

    def gradients_are(self, adapted: Adapted) -> None:
        """What the backward pass left behind."""
        for parameter in adapted.trained().values():
            if parameter.grad is not None:
                self._move(parameter.grad.untyped_storage()._cdata)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].fake_device  # what the fake tensor itself answers; asked for twice in every operation
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor, self._category(func, args, tensor))
        return out

    def _category(self, func: Any, args: Any, made: torch.Tensor) -> str:
        if self._in_backward:
            return TEMPORARY
        if func is torch.ops.aten._to_copy.default and args[0].untyped_storage()._cdata in self._weights:
            return WEIGHTS
        return LOGITS if made.ndim and made.shape[-1] == self._vocab_size else ACTIVATIONS

    def _count(self, tensor: torch.Tensor, category: str) -> None:
        storage = tensor.untyped_storage()
        if (key := storage._cdata) in self._storages:
            return
        size = -(-storage.nbytes() // self._alignment) * self._alignment
        self._storages[key] = (category, size)
        self.live[category] += size
        if self.live.total() > self.at_peak.total():
            self.at_peak = self.live.copy()
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        category, size = self._storages.pop(key)
        self.live[category] -= size

    def _move(self, key: int) -> None:
        category, size = self._storages[key]
        self._storages[key] = (GRADIENTS, size)
        self.live[category] -= size
        self.live[GRADIENTS] += size


def _made_fake(root: torch.nn.Module, mode: FakeTensorMode) -> None:
    """Parameters and buffers of a model on the meta device as fake ones of the CPU; what was tied stays tied."""
    fakes: dict[int, torch.Tensor] = {}
    for module in root.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in fakes:
                    fakes[id(parameter)] = torch.nn.Parameter(_fake(parameter.detach(), mode), parameter.requires_grad)
                module._parameters[name] = fakes[id(parameter)]  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _fake(buffer, mode)


def _fake(tensor: torch.Tensor, mode: FakeTensorMode) -> torch.Tensor:
    """A tensor of this shape and type on the CPU, with no data."""
    return FakeTensor(mode, torch.empty_like(tensor, device="meta"), torch.device("cpu"))


@contextlib.contextmanager
def _standing_in_for(gpu: bool) -> Iterator[None]:
    if not gpu:
        yield
        return
    token = fused_kernels.set(True)
    try:
        with _AsOnAGpu():
            yield
    finally:
        fused_kernels.reset(token)


_IN_FLOAT32 = {  # CUDA's autocast, besides what the CPU's has
    torch.pow, torch.Tensor.pow, torch.Tensor.__pow__, torch.rsqrt, torch.Tensor.rsqrt, torch.exp, torch.log, torch.reciprocal,
    torch.nn.functional.layer_norm, torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax, torch.nn.functional.softplus,
    torch.sum, torch.Tensor.sum, torch.cumsum, torch.Tensor.cumsum,
}  # fmt: skip


class _AsOnAGpu(TorchFunctionMode):
    """What a CUDA device would do otherwise than the CPU that the fake tensors are on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _memory_efficient(*args, **kwargs)
        if func in _IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args = tuple(each.float() if _is_narrow(each) else each for each in args)
        return func(*args, **kwargs)


def _is_narrow(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def _memory_efficient(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> torch.Tensor:  # fmt: skip
    """Keeps queries, keys, values, outputs and one number per query; a boolean mask is turned into numbers first, as SDPA does."""
    if enable_gqa and (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    bias = None
    if attn_mask is not None:
        numbers = attn_mask
        if attn_mask.dtype == torch.bool:
            numbers = torch.zeros(attn_mask.shape, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
        bias = numbers.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
    out: torch.Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, compute_log_sumexp=True, dropout_p=dropout_p, is_causal=is_causal, scale=scale
    )[0]
    return out
