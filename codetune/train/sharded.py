"""A model sharded over the processes of a group (FSDP2): each holds, and steps, its part of every tensor.

The whole forward pass is one module, so that what the decoder does not hold (embeddings, LM head, soft prompts) is sharded with it, tied or
not. Trained shards are handed out as plain parameters that share the shards' memory: clipping, optimisers and checkpoints see no DTensor.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from codetune.batches import Batch
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.forward import summed_loss
from codetune.train.parallel import Group

ELEMENTWISE = ("adam", "adamw")  # optimisers that give a shard what they would give it as part of its tensor


class Shards:
    """`adapted` after it was sharded in place. All methods but `trained` are for all processes at once."""

    def __init__(self, adapted: Adapted, family: Family, group: Group) -> None:
        self._group = group
        self._in_one_piece = _outline(adapted)
        self._pass = _Pass(adapted, family)
        for layer in _layers(adapted):
            fully_shard(layer)
        fully_shard(self._pass)
        for module in self._modules():  # the sum of gradients, also where a backend has no average
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        self.parameters: dict[str, DTensor] = {name: _as_dtensor(p) for name, p in adapted.root.named_parameters()}
        self.trained = {name: torch.nn.Parameter(p.to_local()) for name, p in self.parameters.items() if p.requires_grad}

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        """`models.forward.summed_loss`; every process must call it equally often."""
        loss: torch.Tensor = self._pass(batch)
        if not torch.is_grad_enabled():
            self._reshard()
        return loss

    def hand_over_gradients(self) -> None:
        """The shards' gradients, which the backward passes have summed over the processes, to `trained`."""
        for name, local in self.trained.items():
            whole, self.parameters[name].grad = self.parameters[name].grad, None
            local.grad = torch.zeros_like(local) if whole is None else _as_dtensor(whole).to_local()

    def whole(self) -> Adapted:
        """The model in one piece, in main memory, in the first process; without weights in the others."""
        self._reshard()
        into = dict(self._in_one_piece.root.named_parameters())
        for name, parameter in self.parameters.items():
            full = parameter.full_tensor().detach()
            if self._group.leads:
                whole = torch.nn.Parameter(full.cpu(), requires_grad=parameter.requires_grad)
                torch.utils.swap_tensors(into[name], whole)  # type: ignore[no-untyped-call]
        return self._in_one_piece

    def _modules(self) -> list[FSDPModule]:
        return [module for module in self._pass.modules() if isinstance(module, FSDPModule)]

    def _reshard(self) -> None:
        """The root stays whole after a forward pass, for the backward pass that need not come."""
        for module in self._modules():
            module.reshard()


class _Pass(torch.nn.Module):
    """The one forward pass and its loss, as a module."""

    def __init__(self, adapted: Adapted, family: Family) -> None:
        super().__init__()
        self.root = adapted.root
        self._adapted, self._family = adapted, family

    def forward(self, batch: Batch) -> torch.Tensor:
        return summed_loss(self._adapted, self._family, batch)


def refuse_what_cannot_be_sharded(adapted: Adapted, optimizer: str) -> None:
    """Raises UserError for what is not known to give the same weights as one process."""
    if optimizer not in ELEMENTWISE:
        raise UserError(f"train.optimizer={optimizer} needs whole tensors: use {' or '.join(ELEMENTWISE)}, or train.parallel=ddp")
    packed = sorted({str(p.dtype).removeprefix("torch.") for p in adapted.frozen().values() if not p.dtype.is_floating_point})
    if packed:
        raise UserError(f"weights packed as {', '.join(packed)} are not sharded yet: use train.parallel=ddp, or method.quantize=none")
    kinds = {parameter.dtype for parameter in adapted.trained().values()}
    if torch.bfloat16 in kinds or len(kinds) > 1:
        raise UserError("trained weights in bf16 would be rounded otherwise in shards: use train.precision=bf16, or train.parallel=ddp")
    if adapted.model.config.is_encoder_decoder:
        raise UserError(f"{adapted.model.config.model_type} has an encoder; only decoders are sharded so far: use train.parallel=ddp")


def _layers(adapted: Adapted) -> list[torch.nn.Module]:
    """The decoder's layers, which are gathered one at a time."""
    decoder, count = getattr(adapted.model, adapted.model.base_model_prefix), adapted.model.config.num_hidden_layers
    for module in decoder.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return list(module)
    raise UserError(f"{adapted.model.config.model_type} keeps its layers in no list of {count} to shard by: use train.parallel=ddp")


def _outline(adapted: Adapted) -> Adapted:
    """The same modules with parameters that have a shape and no memory."""
    memo: dict[int, Any] = {}  # what deepcopy takes for copied already
    for parameter in adapted.root.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    return copy.deepcopy(adapted, memo)


def _as_dtensor(tensor: torch.Tensor) -> DTensor:
    assert isinstance(tensor, DTensor)
    return tensor
