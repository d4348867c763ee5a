"""A model with a method on it as it is trained: in its precision, with what is faster in place, its layers computed twice if so asked."""

from __future__ import annotations

from codetune.config import TrainConfig
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.fast.model import speed_up
from codetune.models.offloading import offload_layers
from codetune.train.precision import narrow


def make_ready(adapted: Adapted, train: TrainConfig, where: str) -> None:
    """Change the model in place for training on the device `where`. A step's forecast, its dry run and the run itself all do this."""
    narrow(adapted, train.precision)
    if train.offload_frozen_weights:
        refuse_to_offload(adapted.method, train)
        offload_layers(adapted.model, adapted.root, where, train.offload_buffers)
    if train.fast:
        speed_up(adapted.model, where)
    if train.layers_twice:
        checkpoint_layers(adapted.model)


def refuse_to_offload(method: str, train: TrainConfig) -> None:
    """Raises UserError where weights cannot be kept in main memory: none are frozen, or processes hold shards of them."""
    if method == "full":
        raise UserError("train.offload_frozen_weights: method full trains all weights: choose another method, or leave it out")
    if train.parallel == "fsdp":
        raise UserError("train.offload_frozen_weights keeps whole layers: use train.parallel=ddp, or leave it out")
