"""Several LoRA adapters on one model, each row of a batch through its own: the base's matrices are multiplied once for all rows.

So are the adapters': they stand side by side as one of all their ranks, of which a row keeps its own adapter's. What is no plain linear
layer goes through PEFT's mixed batches (`adapter_names`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from codetune.errors import UserError
from codetune.methods.adapted import peft_type
from codetune.methods.halved import seemingly_whole
from codetune.methods.silent import peft, silent

BASE = "__base__"  # PEFT's name for rows without an adapter


class Mixture:
    """A model with adapters in its layers, none of which is active until `rows` says so."""

    def __init__(self, model: Any) -> None:
        self.model, self._wrapped = model, None  # type: Any, Any
        self._rows: list[str] = []
        self._kept: dict[tuple[tuple[str, int], ...], torch.Tensor] = {}  # of the coming passes: what each row keeps, by adapters and ranks

    def add(self, folder: Path) -> str:
        """Puts another adapter into the layers, and gives its name in `rows`. Raises UserError where it does not fit the model."""
        names = () if self._wrapped is None else self._wrapped.peft_config
        name = f"adapter{len(names)}"
        try:
            with silent(), seemingly_whole(self.model):
                if self._wrapped is None:
                    self._wrapped = peft.PeftModel.from_pretrained(self.model, str(folder), adapter_name=name)
                else:
                    self._wrapped.load_adapter(str(folder), adapter_name=name)
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"the adapter in {folder} does not fit this model: {str(error).splitlines()[0]}") from None
        self._wrapped.requires_grad_(False).eval()
        for layer in self._wrapped.modules():
            if not isinstance(layer, peft.tuners.lora.LoraLayer):
                continue
            if _plain(layer):
                layer.forward = self._side_by_side(layer)
            elif not hasattr(layer, "_codetune_rows"):
                layer._codetune_rows = layer.register_forward_pre_hook(self._tell, with_kwargs=True)
        return name

    def rows(self, names: Sequence[str]) -> None:
        """Whose the rows of the next passes are: names that `add` gave, and BASE."""
        if names != self._rows:
            self._rows = list(names)
            self._kept.clear()

    def _side_by_side(self, layer: Any) -> Callable[..., torch.Tensor]:
        """A layer's forward with all its adapters at once, each row [tokens, width] through its own."""
        parts = _SideBySide.of(layer)

        def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            result: torch.Tensor = layer.base_layer(x, *args, **kwargs)
            there = set(self._rows) & parts.columns.keys()
            if not there:
                return result
            if len(there) == 1 and len(set(self._rows)) == 1:
                own = parts.columns[self._rows[0]]
                return result + (x.to(parts.down.dtype) @ parts.down[:, own] @ parts.up[own]).to(result.dtype)
            kept = self._keeps(parts)
            inner = x.to(parts.down.dtype) @ parts.down
            return result + ((inner * (kept[:, None] if x.dim() > 2 else kept)) @ parts.up).to(result.dtype)

        return forward

    def _keeps(self, parts: _SideBySide) -> torch.Tensor:
        """1 where a column of the ranks is of the row's own adapter, [rows, ranks]."""
        if parts.key not in self._kept:
            numbers = {name: number for number, name in enumerate(parts.columns)}
            owners = torch.tensor([numbers[name] for name, rank in parts.key for _ in range(rank)], device=parts.down.device)
            whose = torch.tensor([numbers.get(name, -1) for name in self._rows], device=parts.down.device)
            self._kept[parts.key] = (whose[:, None] == owners).to(parts.down.dtype)
        return self._kept[parts.key]

    def _tell(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "adapter_names": self._rows}


@dataclass(frozen=True, slots=True)
class _SideBySide:
    """A layer's adapters as one: `down` [width in, ranks], `up` [ranks, width out] with their scalings, and which columns are whose."""

    down: torch.Tensor
    up: torch.Tensor
    columns: dict[str, slice]
    key: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, layer: Any) -> _SideBySide:
        names = list(layer.lora_A)
        down = torch.cat([layer.lora_A[name].weight for name in names]).T.contiguous()
        up = torch.cat([layer.lora_B[name].weight * layer.scaling[name] for name in names], dim=1).T.contiguous()
        columns, start = {}, 0
        for name in names:
            columns[name] = slice(start, start + layer.lora_A[name].weight.shape[0])
            start = columns[name].stop
        return cls(down, up, columns, tuple((name, own.stop - own.start) for name, own in columns.items()))


def _plain(layer: Any) -> bool:
    """Whether a LoRA layer adds two products to that of its base, and nothing else."""
    return isinstance(layer, peft.tuners.lora.Linear) and not layer.lora_variant and all(one.bias is None for one in layer.lora_B.values())


def mixes(folder: Path) -> bool:
    """Whether an adapter can share a batch: a LoRA that adds to products with matrices, and nothing else (no DoRA, no biases)."""
    config = peft.PeftConfig.from_pretrained(str(folder))
    more = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication", "alora_invocation_tokens")
    return peft_type(config) == "LORA" and config.bias == "none" and not any(getattr(config, name, None) for name in more)
