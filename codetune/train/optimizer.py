"""The optimisers: Adam, AdamW, and Muon for a model's matrices beside AdamW for the rest."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch

from codetune.config import TrainConfig

_NO_MATRIX_OF_THE_MODEL = ("embed", "wte", "wpe", "lm_head", "prompt_encoder")  # Muon is for what lies between embeddings and logits


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


def make_optimizer(trained: dict[str, torch.nn.Parameter], config: TrainConfig, learning_rate: float) -> Optimizer:
    """The recipe's optimiser over the trained parameters.

    Weight decay is for matrices of the model and of LoRA, never for norms, biases and soft prompts. `muon` (Jordan et al. 2024)
    makes each matrix's momentum orthogonal; its steps are scaled to AdamW's size (Liu et al. 2025), so one learning rate
    serves it and the AdamW that trains embeddings, norms, biases and soft prompts.
    """
    muon = {name: p for name, p in trained.items() if config.optimizer == "muon" and _is_matrix(name, p)}
    rest = {name: p for name, p in trained.items() if name not in muon}
    decayed = [p for name, p in rest.items() if p.ndim >= 2 and "prompt_encoder" not in name]
    others = [p for name, p in rest.items() if p.ndim < 2 or "prompt_encoder" in name]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    parts: list[torch.optim.Optimizer] = []
    if muon:
        settings: dict[str, Any] = {"weight_decay": config.weight_decay, "adjust_lr_fn": "match_rms_adamw"}
        parts.append(torch.optim.Muon(muon.values(), lr=learning_rate, **settings))
    if groups:
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        fused = all(p.dtype == torch.float32 for p in trained.values())
        parts.append(kind(groups, lr=learning_rate, betas=(0.9, config.beta2), fused=fused))
    return Optimizer(parts)


def _is_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    return parameter.ndim == 2 and not any(word in name for word in _NO_MATRIX_OF_THE_MODEL)
