"""The optimisers: Adam, AdamW, and Muon for a model's matrices beside AdamW for the rest."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from codetune.config import TrainConfig

_NOT_DECAYED = ("prompt_encoder", ".ia3_l.")  # though they have two dimensions
_NO_MATRIX_OF_THE_MODEL = ("embed", "wte", "wpe", "lm_head", *_NOT_DECAYED)  # Muon is for what lies between embeddings and logits


class Optimizer:
    """One or two torch optimisers that step and are saved as one."""

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return list(itertools.chain.from_iterable(part.param_groups for part in self.parts))

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def make_optimizer(
    trained: dict[str, torch.nn.Parameter], config: TrainConfig, learning_rate: float, factors: Mapping[str, float] | None = None
) -> Optimizer:
    """The recipe's optimiser over the trained parameters.

    Weight decay is for matrices of the model and of adapters, never for norms, biases, soft prompts and vectors that scale. `factors` of
    the learning rate, by name, are 1 where they are not given. `muon` (Jordan et al. 2024)
    makes each matrix's momentum orthogonal; its steps are scaled to AdamW's size (Liu et al. 2025), so one learning rate
    serves it and the AdamW that trains embeddings, norms, biases and soft prompts.
    """
    muon = {name: p for name, p in trained.items() if config.optimizer == "muon" and _is_matrix(name, p)}
    rest = {name: p for name, p in trained.items() if name not in muon}
    groups = _groups(rest, config.weight_decay, factors or {})
    parts: list[torch.optim.Optimizer] = []
    if muon:
        parts.append(torch.optim.Muon(_groups(muon, config.weight_decay, factors or {}), lr=learning_rate, adjust_lr_fn="match_rms_adamw"))
    if groups:
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        fused = all(p.dtype == torch.float32 for p in trained.values())
        parts.append(kind(groups, lr=learning_rate, betas=(0.9, config.beta2), fused=fused))
    return Optimizer(parts)


def _groups(parameters: Mapping[str, torch.nn.Parameter], weight_decay: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Parameters with the same decay and the same factor of the learning rate (`rate_factor`, which the loop sets rates by) together."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decayed = parameter.ndim >= 2 and not any(word in name for word in _NOT_DECAYED)
        groups.setdefault((weight_decay if decayed else 0.0, factors.get(name, 1.0)), []).append(parameter)
    return [{"params": params, "weight_decay": decay, "rate_factor": factor} for (decay, factor), params in groups.items()]


def _is_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    return parameter.ndim == 2 and not any(word in name for word in _NO_MATRIX_OF_THE_MODEL)
