"""A model with a method attached: what every later stage (loop, engine, export) sees, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch


class SoftPrompt(Enum):
    """Where a method puts its virtual tokens."""

    NONE = "none"
    EMBEDDINGS = "embeddings"  # prompt-tuning: rows before the text's embeddings
    KEYS_VALUES = "keys_values"  # prefix-tuning: keys and values before the text's, in every layer


@dataclass(slots=True)
class Adapted:
    """`model` is the causal LM itself (with LoRA layers in place where there are any); `peft` PEFT's wrapper around it."""

    model: Any
    method: str
    peft: Any = None
    soft_prompt: SoftPrompt = SoftPrompt.NONE
    num_virtual_tokens: int = 0

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that train, by name."""
        return {name: parameter for name, parameter in self.root.named_parameters() if parameter.requires_grad}

    def frozen(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that must not move."""
        return {name: parameter for name, parameter in self.root.named_parameters() if not parameter.requires_grad}

    @property
    def root(self) -> Any:
        return self.model if self.peft is None else self.peft

    def virtual_embeddings(self) -> torch.Tensor:
        """Prompt-tuning's trained rows, [virtual tokens, hidden size]."""
        return self._encoder_weight()

    def virtual_keys_values(self, kv_heads: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Prefix-tuning's trained keys and values per layer, each [kv heads, virtual tokens, head dim]; PEFT's memory order."""
        weight = self._encoder_weight()
        layers = weight.view(weight.shape[0], -1, 2, kv_heads, self._head_dim(kv_heads)).permute(1, 2, 3, 0, 4)
        return [(layer[0], layer[1]) for layer in layers]

    def trainable_share(self) -> tuple[int, int]:
        """(trainable, all) parameters; all is base plus adapter, as PEFT prints it."""
        trainable = sum(parameter.numel() for parameter in self.trained().values())
        return trainable, trainable + sum(parameter.numel() for parameter in self.frozen().values())

    def save(self, folder: Path) -> None:
        """PEFT's adapter files, or the whole model for full fine-tuning."""
        if self.peft is None:
            self.model.save_pretrained(folder)
        else:
            self.peft.save_pretrained(folder, save_embedding_layers=False)  # else PEFT looks the base up to see whether they changed
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card

    def _encoder_weight(self) -> torch.Tensor:
        weight: torch.Tensor = self.peft.prompt_encoder[self.peft.active_adapter].embedding.weight
        return weight

    def _head_dim(self, kv_heads: int) -> int:
        return int(self.peft.active_peft_config.token_dim) // kv_heads
