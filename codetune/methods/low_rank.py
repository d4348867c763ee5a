"""Methods that update linear layers at low rank through PEFT: LoRA with its relatives, and VeRA. Also BitFit, as PEFT can load it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils import parametrize

from codetune.config import LoraSettings, VeraConfig
from codetune.errors import UserError
from codetune.methods.silent import peft
from codetune.methods.targets import Targets

EXACT_SVD = 2048  # matrices with both sides longer are taken apart by Halko's method, as the PiSSA paper does
SVD_ITERATIONS = 16


def lora_config(method: LoraSettings, targets: Targets) -> Any:
    """PEFT's config. PiSSA has twice the rank, half of which is frozen (`start_from_largest`), at the scale of the rank asked for."""
    doubled = 2 if method.init == "pissa" else 1
    alpha = method.lora_alpha * (math.sqrt(doubled) if method.rslora else doubled)
    return peft.LoraConfig(
        task_type=targets.task_type, r=doubled * method.lora_rank, lora_alpha=alpha, lora_dropout=method.lora_dropout,
        target_modules=chosen_layers(method.target_modules, targets), fan_in_fan_out=targets.fan_in_fan_out,
        use_rslora=method.rslora, use_dora=method.dora,
    )  # fmt: skip


def vera_config(method: VeraConfig, targets: Targets, seed: int) -> Any:
    """PEFT's config. The shared random matrices are saved with the adapter: that another version draws the same ones is not promised."""
    return peft.VeraConfig(
        task_type="CAUSAL_LM", r=method.vera_rank, target_modules=chosen_layers(method.target_modules, targets),
        fan_in_fan_out=targets.fan_in_fan_out, projection_prng_key=seed, save_projection=True,
    )  # fmt: skip


def bitfit_config(model: torch.nn.Module, targets: Targets) -> Any:
    """BitFit as an adapter that plain PEFT loads: LoRA's `bias="all"` with a low-rank part that is scaled by 0, on the smallest layer.

    PEFT keeps such biases in the base model itself, so another adapter on the same model in memory would have them, too.
    """
    linears = [(name, module) for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in targets.linear]
    smallest = min(linears, key=lambda item: item[1].weight.numel())[0]
    return peft.LoraConfig(
        task_type="CAUSAL_LM", r=1, lora_alpha=0, bias="all", target_modules=[smallest], fan_in_fan_out=targets.fan_in_fan_out
    )


def is_bitfit(config: Any) -> bool:
    return bool(getattr(config, "bias", "none") == "all" and config.lora_alpha == 0)


def train_biases_alone(wrapped: torch.nn.Module) -> None:
    """The low-rank part of BitFit's adapter stays as it is."""
    for name, parameter in wrapped.named_parameters():
        if ".lora_" in name:
            parameter.requires_grad_(False)


def chosen_layers(wanted: str | Sequence[str], targets: Targets) -> list[str]:
    """Leaf names of the layers to adapt. Raises UserError for names that are none of the model's linear layers."""
    if wanted == "all-linear":
        return list(targets.linear)
    if unknown := sorted(set(wanted) - set(targets.linear)):
        raise UserError(f"target_modules {unknown}: this model's linear layers are {', '.join(targets.linear)}")
    return list(wanted)


class _WithStart(torch.nn.Module):
    """A trained matrix with a frozen one behind it, along `dim`: together the matrix that PEFT's layer sees."""

    def __init__(self, start: torch.Tensor, dim: int) -> None:
        super().__init__()
        self.register_buffer("start", start)
        self.dim = dim

    def forward(self, trained: torch.Tensor) -> torch.Tensor:
        start: Any = self.start
        return torch.cat([trained, start], dim=self.dim)

    def right_inverse(self, both: torch.Tensor) -> torch.Tensor:
        return both.narrow(self.dim, 0, both.shape[self.dim] // 2).clone()


def start_from_largest(wrapped: torch.nn.Module) -> None:
    """PiSSA (Meng et al. 2024) without a change to the base: W + s (B A - B0 A0), of which A and B train, from A0 and B0.

    The paper trains B A beside the residual W - s B0 A0. This is the same function with the same gradients, but no base weight
    moves, so the adapter as it is saved (a LoRA of twice the rank) belongs on the original base, and reloads bit for bit.
    """
    for layer in wrapped.modules():
        if not isinstance(layer, peft.tuners.lora.LoraLayer):
            continue
        down, up = layer.lora_A["default"], layer.lora_B["default"]
        weight = layer.get_base_layer().weight.detach()
        matrix = weight.T if layer.fan_in_fan_out else weight  # [outputs, inputs]
        first, second = _largest_directions(matrix, down.weight.shape[0] // 2, layer.scaling["default"])
        _with_start(down, first, first, dim=0)
        _with_start(up, second, -second, dim=1)


def whole_matrices(wrapped: torch.nn.Module) -> dict[str, torch.Tensor] | None:
    """A state dict in which matrices of two halves are whole, as PEFT saves and loads them; None where there are none."""
    halves = {name: module for name, module in wrapped.named_modules() if parametrize.is_parametrized(module)}
    if not halves:
        return None
    state = {name: tensor for name, tensor in wrapped.state_dict().items() if ".parametrizations." not in name}
    return state | {f"{name}.weight": module.weight.detach() for name, module in halves.items()}


def _largest_directions(matrix: torch.Tensor, rank: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A [rank, inputs] and B [outputs, rank] whose scaled product is the matrix's best approximation of that rank.

    Rows and columns beyond the matrix's own rank are 0.
    """
    wide = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    if min(matrix.shape) <= EXACT_SVD:
        left, values, right = torch.linalg.svd(wide, full_matrices=False)
    else:
        left, values, right = torch.svd_lowrank(wide, rank + 8, SVD_ITERATIONS)
        right = right.T
    found = min(rank, len(values))
    root = (values[:found] / scale).sqrt()
    first, second = wide.new_zeros(rank, matrix.shape[1]), wide.new_zeros(matrix.shape[0], rank)
    first[:found] = root[:, None] * right[:found]
    second[:, :found] = left[:, :found] * root
    return first, second


def _with_start(half: torch.nn.Module, trained: torch.Tensor, start: torch.Tensor, dim: int) -> None:
    parameter: Any = half.weight
    with torch.no_grad():
        parameter.copy_(torch.cat([trained, start], dim=dim))
    parametrize.register_parametrization(half, "weight", _WithStart(start.to(parameter.dtype), dim))
