"""The optimisers: Adam, AdamW (its moments in 32 or in 8 bits), Adafactor, and Muon for a model's matrices beside AdamW for the rest."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from codetune.config import TrainConfig
from codetune.models.quantized import bitsandbytes
from codetune.train.rounding import Widened

_NOT_DECAYED = ("prompt_encoder", ".ia3_l.")  # though they have two dimensions
_NO_MATRIX_OF_THE_MODEL = ("embed", "wte", "wpe", "lm_head", *_NOT_DECAYED)  # Muon is for what lies between embeddings and logits
_ADAFACTOR_EPS = (1e-15, 1.0)  # the first squared is still a float32; with 1 as the least scale a learning rate means what AdamW's does


class Optimizer:
    """One or two torch optimisers that step and are saved as one; over stand-ins where weights are in bf16."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer], widened: Widened | None = None) -> None:
        self.parts, self._widened = list(parts), widened
        groups = ((part, number, group) for part in self.parts for number, group in enumerate(part.param_groups))
        self._owner = {parameter: (part, number) for part, number, group in groups for parameter in group["params"]}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return list(itertools.chain.from_iterable(part.param_groups for part in self.parts))

    def step(self) -> None:
        if self._widened is not None:
            self._widened.step(self._update)
            return
        for part in self.parts:
            part.step()

    def step_one(self, parameter: torch.Tensor) -> None:
        """Step one parameter, which has its gradient; `ended` once all have been. The same weights as by `step`, to the last bit."""
        if self._widened is not None:
            self._widened.step_one(parameter, self._update)
        else:
            self._update(parameter)

    def ended(self) -> None:
        """All parameters of a step were stepped one by one."""
        if self._widened is not None:
            self._widened.steps += 1

    def _update(self, parameter: torch.Tensor) -> None:
        """Step one of torch's parameters, as if there were no others: to look through all of them each time would be quadratic."""
        part, own = self._owner[parameter]
        kept = [group["params"] for group in part.param_groups]
        try:
            for number, group in enumerate(part.param_groups):
                group["params"] = [parameter] if number == own else []
            part.step()
        finally:
            for group, parameters in zip(part.param_groups, kept, strict=True):
                group["params"] = parameters

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        own = [] if self._widened is None else [{"steps": self._widened.steps}]
        return [part.state_dict() for part in self.parts] + own

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        if self._widened is not None:
            *states, own = states
            self._widened.steps = own["steps"]
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def make_optimizer(
    trained: dict[str, torch.nn.Parameter], config: TrainConfig, learning_rate: float, factors: Mapping[str, float] | None = None
) -> Optimizer:
    """The recipe's optimiser over the trained parameters. Raises UserError where 8-bit moments need a package that is not there.

    Weight decay is for matrices of the model and of adapters, never for norms, biases, soft prompts and vectors that scale. `factors` of
    the learning rate, by name, are 1 where they are not given. `muon` (Jordan et al. 2024)
    makes each matrix's momentum orthogonal; its steps are scaled to AdamW's size (Liu et al. 2025), so one learning rate
    serves it and the AdamW that trains embeddings, norms, biases and soft prompts. `adafactor` (Shazeer & Stern 2018) keeps row and
    column means of a matrix' squared gradients and no momentum; its steps are of AdamW's size too. What is in bf16 is updated through
    fp32 and rounded at random, by whatever optimiser.
    """
    muon = {name: p for name, p in trained.items() if config.optimizer == "muon" and is_matrix(name, p.ndim)}
    rest = {name: p for name, p in trained.items() if name not in muon}
    groups = _groups(rest, config.weight_decay, factors or {})
    muon_groups = _groups(muon, config.weight_decay, factors or {})
    widened = Widened(trained.values()) if any(p.dtype == torch.bfloat16 for p in trained.values()) else None
    if widened is not None:
        stand_in = dict(zip(trained.values(), widened.stand_ins(), strict=True))
        for group in [*groups, *muon_groups]:
            group["params"] = [stand_in[p] for p in group["params"]]
    parts: list[torch.optim.Optimizer] = []
    if muon_groups:
        parts.append(torch.optim.Muon(muon_groups, lr=learning_rate, adjust_lr_fn="match_rms_adamw"))
    if groups:
        fused = all(p.dtype in (torch.float32, torch.bfloat16) for p in trained.values())
        parts.append(_of_kind(config, groups, learning_rate, fused))
    return Optimizer(parts, widened)


def _of_kind(config: TrainConfig, groups: list[dict[str, Any]], learning_rate: float, fused: bool) -> torch.optim.Optimizer:
    betas = (0.9, config.beta2)
    match config.optimizer:
        case "adamw_8bit":
            made: torch.optim.Optimizer = bitsandbytes("optimizer: adamw_8bit").optim.AdamW8bit(groups, lr=learning_rate, betas=betas)
            return made
        case "adafactor":
            return torch.optim.Adafactor(groups, lr=learning_rate, eps=_ADAFACTOR_EPS)
        case "adam":
            return torch.optim.Adam(groups, lr=learning_rate, betas=betas, fused=fused)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused)


def _groups(parameters: Mapping[str, torch.nn.Parameter], weight_decay: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Parameters with the same decay and the same factor of the learning rate (`rate_factor`, which the loop sets rates by) together."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decayed = parameter.ndim >= 2 and not any(word in name for word in _NOT_DECAYED)
        groups.setdefault((weight_decay if decayed else 0.0, factors.get(name, 1.0)), []).append(parameter)
    return [{"params": params, "weight_decay": decay, "rate_factor": factor} for (decay, factor), params in groups.items()]


def is_matrix(name: str, dimensions: int) -> bool:
    """Whether Muon is for a parameter: a matrix between embeddings and logits."""
    return dimensions == 2 and not any(word in name for word in _NO_MATRIX_OF_THE_MODEL)
