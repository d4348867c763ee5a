"""Several LoRA adapters on one model, each row of a batch through its own: the base's matrices are multiplied once for all rows.

PEFT's mixed batches (`adapter_names`) do the work; here is which adapters it can do that with, and how a batch says whose its rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
            if isinstance(layer, peft.tuners.lora.LoraLayer) and not hasattr(layer, "_codetune_rows"):
                layer._codetune_rows = layer.register_forward_pre_hook(self._tell, with_kwargs=True)
        return name

    def rows(self, names: Sequence[str]) -> None:
        """Whose the rows of the next passes are: names that `add` gave, and BASE."""
        self._rows = list(names)

    def _tell(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, {**kwargs, "adapter_names": self._rows}


def mixes(folder: Path) -> bool:
    """Whether an adapter can share a batch: a LoRA that adds to products with matrices, and nothing else (no DoRA, no biases)."""
    config = peft.PeftConfig.from_pretrained(str(folder))
    more = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication", "alora_invocation_tokens")
    return peft_type(config) == "LORA" and config.bias == "none" and not any(getattr(config, name, None) for name in more)
