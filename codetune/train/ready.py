"""A model with a method on it as it is trained: in its precision, with what is faster in place, its layers computed twice if so asked."""

from __future__ import annotations

from codetune.config import TrainConfig
from codetune.methods import Adapted
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.fast import speed_up
from codetune.train.precision import narrow


def make_ready(adapted: Adapted, train: TrainConfig, where: str) -> None:
    """Change the model in place for training on the device `where`. A step's forecast, its dry run and the run itself all do this."""
    narrow(adapted, train.precision)
    if train.fast:
        speed_up(adapted.model, where)
    if train.activation_checkpointing:
        checkpoint_layers(adapted.model)
