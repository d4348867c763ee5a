"""A model with a method on it as it is trained: in its precision, with what is faster in place, layers compiled or computed twice."""

from __future__ import annotations

from typing import Any

from codetune.config import TrainConfig
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.compiled import compile_layers, missing_compiler
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
        speed_up(adapted.model, where, compiled=bool(train.compile))
    if train.compile:
        refuse_to_compile(adapted.model.config, train, where)
        if why := missing_compiler(where):
            raise UserError(f"{why}, or leave train.compile out")
        compile_layers(adapted.model, graphs=train.compile == "cuda_graphs")
    if train.layers_twice:
        checkpoint_layers(adapted.model)


def refuse_to_offload(method: str, train: TrainConfig) -> None:
    """Raises UserError where weights cannot be kept in main memory: none are frozen, or processes hold shards of them."""
    if method == "full":
        raise UserError("train.offload_frozen_weights: method full trains all weights: choose another method, or leave it out")
    if train.parallel == "fsdp":
        raise UserError("train.offload_frozen_weights keeps whole layers: use train.parallel=ddp, or leave it out")


def refuse_to_compile(config: Any, train: TrainConfig, where: str, four_bit: bool = False) -> None:
    """Raises UserError where layers of a model of this transformers config cannot be compiled, for what else is asked for.

    `where` may be `auto`: then what depends on the device is left for when it is known.
    """
    where = where.split(":")[0]
    if where not in ("auto", "cpu", "cuda"):
        raise UserError(f"train.compile is for CUDA GPUs and CPUs, not for {where}: leave it out")
    if config.is_encoder_decoder:
        raise UserError(f"train.compile is for decoders, and {config.model_type} is an encoder-decoder: leave it out")
    if four_bit:
        raise UserError("train.compile: not with a base in 4 bits (quantize: nf4), whose layers are not looked into: leave it out")
    if train.offload_frozen_weights:
        raise UserError("train.compile: with train.offload_frozen_weights weights come and go: leave one of them out")
    if train.parallel == "fsdp":
        raise UserError("train.compile takes whole layers: use train.parallel=ddp, or leave it out")
    if train.compile == "cuda_graphs":
        if where not in ("auto", "cuda"):
            raise UserError(f"train.compile=cuda_graphs needs a CUDA GPU, this runs on {where}: use train.compile=true, or leave it out")
        for name, chosen in (("activation_checkpointing", train.layers_twice), ("optimizer_in_backward", train.optimizer_in_backward)):
            if chosen:
                raise UserError(f"train.compile=cuda_graphs does not go with train.{name}: use train.compile=true, or leave one out")
