"""Checkpoints of a run under way: written atomically, so that kill -9 at any moment leaves a whole one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from codetune.runs import write_atomically
from codetune.train.optimizer import Optimizer

CHECKPOINT = "checkpoint/state.pt"
BEST = "checkpoint/best.pt"


@dataclass(slots=True)
class Progress:
    """Where a run stands, next to its weights and optimiser."""

    step: int = 0  # optimiser steps done
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0  # training time, validation and saving left out
    first_loss: float | None = None
    last_loss: float | None = None
    best_val_loss: float | None = None
    last_val_loss: float | None = None
    last_pass_rate: float | None = None
    best_pass_rate: float | None = None
    kept: tuple[float, float] | None = None  # how the kept weights stand by what is monitored; see `monitor.Standing`
    monitored_at: int = 0  # the last step at which what is monitored was measured
    measurements_without_better: int = 0
    stopped: str = ""  # why training ended early, if it did
    losses_finite: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path, trained: dict[str, torch.nn.Parameter], optimizer: Optimizer, progress: Progress) -> None:
    """The trained weights, the optimiser, the progress and the state of torch's random numbers (dropout draws them), as one file."""
    fields = {name: getattr(progress, name) for name in Progress.__dataclass_fields__}
    weights = {name: p.detach() for name, p in trained.items()}
    state = {"trained": weights, "optimizer": optimizer.state_dict(), "progress": fields, "random": torch.get_rng_state()}
    write_atomically(folder / CHECKPOINT, lambda file: torch.save(state, file))


def load_checkpoint(folder: Path, trained: dict[str, torch.nn.Parameter], optimizer: Optimizer) -> Progress | None:
    """Put a saved state into the model and the optimiser; None if there is no checkpoint."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    restore(trained, state["trained"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    return Progress(**state["progress"])


def save_best(folder: Path, trained: dict[str, torch.nn.Parameter]) -> None:
    write_atomically(folder / BEST, lambda file: torch.save({name: p.detach() for name, p in trained.items()}, file))


def load_best(folder: Path, trained: dict[str, torch.nn.Parameter]) -> bool:
    """Put the best weights back; False if none were kept."""
    path = folder / BEST
    if not path.exists():
        return False
    restore(trained, torch.load(path, map_location="cpu", weights_only=True))
    return True


@torch.no_grad()
def restore(trained: dict[str, torch.nn.Parameter], saved: dict[str, torch.Tensor]) -> None:
    for name, parameter in trained.items():
        parameter.copy_(saved[name])
