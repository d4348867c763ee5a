"""Liger's kernels for RMSNorm, rotary positions and SwiGLU, in the layers of Llama, Mistral and Qwen (Hsu et al. 2024, arXiv:2410.10989).

Each is one kernel for what are a dozen, and keeps its inputs alone. The package is optional (`pip install codetune[kernels]`); where it is
missing, or a kernel fails its proof on this GPU, the layers compute as they did.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from codetune.models.fast.gpu_proof import failure
from codetune.models.fast.numbers import product_type

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
_ROTARY = "apply_rotary_pos_emb"


@dataclass(frozen=True, slots=True)
class Kernels:
    """`norm(x, weight, epsilon)`, `swiglu(gate, up)` and `rotary(queries, keys, cos, sin)`; None where it is not to be used."""

    norm: Callable[..., torch.Tensor] | None
    swiglu: Callable[..., torch.Tensor] | None
    rotary: Callable[..., Any] | None


def installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("triton", "liger_kernel"))


def use_kernels(model: Any, kernels: Kernels) -> None:
    """Put them into the layers of the families that compute so; an instance stays what it was for everybody who asks."""
    for module in model.modules():
        if not isinstance(module, _WithKernel):
            kind: Any = type(module)
            module.__class__ = _with_kernels(kind, kernels)


@functools.cache
def _with_kernels(kind: type[Any], kernels: Kernels) -> type[Any]:
    """The class with its kernel, or as it is where it has none."""
    plain: Any = next((each for each in kind.__mro__ if each.__module__.startswith("transformers.models.") and _part_of(each)), None)
    part = "" if plain is None else _part_of(plain)
    if part == "RMSNorm" and kernels.norm is not None:
        return type(f"Liger{kind.__name__}", (_Norm, kind), {"kernel": staticmethod(kernels.norm)})
    if part == "MLP" and kernels.swiglu is not None:
        return type(f"Liger{kind.__name__}", (_GatedMlp, kind), {"kernel": staticmethod(kernels.swiglu)})
    if part == "Attention" and plain is not None and kernels.rotary is not None:
        changed = _with_rotary(plain.forward, kernels.rotary)
        return kind if changed is None else type(f"Liger{kind.__name__}", (_WithKernel, kind), {"forward": changed})
    return kind


def _part_of(kind: type[Any]) -> str:
    """ "RMSNorm", "MLP" or "Attention" of one of the families, else ""."""
    found = (kind.__name__.removeprefix(name) for name in FAMILIES if kind.__name__.startswith(name))
    return next((part for part in found if part in ("RMSNorm", "MLP", "Attention")), "")


class _WithKernel:
    """Marks a class that has one."""


class _Norm(_WithKernel):
    kernel: Callable[..., torch.Tensor]
    weight: torch.Tensor
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if not _taken(hidden_states, self.weight):
            plain: torch.Tensor = super().forward(hidden_states)  # type: ignore[misc]  # the layer's class comes next
            return plain
        # In the numbers of the products that follow, once for all of them: each would keep a copy of its own.
        return self.kernel(hidden_states, self.weight, self.variance_epsilon).to(product_type(hidden_states))


class _GatedMlp(_WithKernel):
    kernel: Callable[..., torch.Tensor]
    gate_proj: Callable[..., torch.Tensor]
    up_proj: Callable[..., torch.Tensor]
    down_proj: Callable[..., torch.Tensor]
    act_fn: Any

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        silu = "silu" in type(self.act_fn).__name__.lower()
        return self.down_proj(self.kernel(gate, up) if silu and _taken(gate, up) else self.act_fn(gate) * up)


def _taken(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Two of one type; what is wider than fp32 the kernels would narrow."""
    return one.dtype == other.dtype and one.dtype != torch.float64


def _with_rotary(forward: Any, rotary: Callable[..., Any]) -> Callable[..., Any] | None:
    """The attention's own forward with another function for its rotary positions; None where it is written otherwise than expected.

    The function is a global of transformers' module: to replace it there would change every model of the process.
    """
    if inspect.unwrap(forward) is not forward or forward.__closure__ is not None or _ROTARY not in forward.__code__.co_names:
        return None
    plain = forward.__globals__[_ROTARY]

    def chosen(query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
        return rotary(query, key, cos, sin) if _taken(query, key) else plain(query, key, cos, sin)

    changed = types.FunctionType(forward.__code__, {**forward.__globals__, _ROTARY: chosen}, forward.__name__, forward.__defaults__)
    changed.__kwdefaults__ = forward.__kwdefaults__
    return changed


@functools.cache
def liger(device: torch.device) -> Kernels:
    """Liger's kernels, each if it gives on this device what the plain computation gives."""
    ops: Any = importlib.import_module("liger_kernel.ops")

    def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        # Not in place: the gradient that comes in may be another's, too.
        out: torch.Tensor = ops.LigerRMSNormFunction.apply(x, weight, epsilon, 0.0, "llama", False)
        return out

    def swiglu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = ops.LigerSiLUMulFunction.apply(gate, up)
        return out

    def rotary(query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
        return ops.LigerRopeFunction.apply(query, key, cos, sin)

    found: dict[str, Callable[..., Any]] = {"norm": norm, "swiglu": swiglu, "rotary": rotary}
    return Kernels(**{name: one if _proved(name, one, device) else None for name, one in found.items()})


def kinds_on(device: torch.device) -> tuple[torch.dtype, ...]:
    """What a proof is made in; Triton's interpreter, which stands for a GPU where there is none, makes NaN of bf16."""
    return (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,)


def _proved(name: str, fast: Callable[..., Any], device: torch.device) -> bool:
    generator = torch.Generator(device).manual_seed(0)
    random = functools.partial(torch.randn, generator=generator, device=device)
    angles = random(2, 20, 16).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    given = {
        "norm": [random(2, 20, 96), random(96)],
        "swiglu": [random(2, 20, 96), random(2, 20, 96)],
        "rotary": [random(2, 20, 4, 32).transpose(1, 2), random(2, 20, 2, 32).transpose(1, 2)],
    }[name]

    def of_fast(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if name == "rotary":
            return _joined(*fast(one, other, cos, sin))
        out: torch.Tensor = fast(one, other, 1e-6) if name == "norm" else fast(one, other)
        return out

    def of_plain(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        if name == "rotary":
            return _joined(_turned(one, cos, sin), _turned(other, cos, sin))
        if name == "norm":
            return other * one * torch.rsqrt(one.square().mean(-1, keepdim=True) + 1e-6)
        return torch.nn.functional.silu(one) * other

    return not any(failure(f"Liger's {name}", of_fast, of_plain, [one.to(kind) for one in given]) for kind in kinds_on(device))


def _joined(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    return torch.cat([query.flatten(1), key.flatten(1)], dim=1)


def _turned(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """[rows, heads, tokens, head dim], by angles [rows, tokens, head dim] whose two halves are alike."""
    first, second = states.chunk(2, dim=-1)
    return states * cos[:, None] + torch.cat([-second, first], dim=-1) * sin[:, None]
