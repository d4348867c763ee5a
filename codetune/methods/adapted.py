"""A model with a method attached: what every later stage (loop, engine, export) sees, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from codetune.methods.low_rank import whole_matrices

MERGED = ("LORA", "VERA", "IA3", "LN_TUNING")  # PEFT's types whose trained parameters can become part of the base's own


class SoftPrompt(Enum):
    """Where a method puts its virtual tokens."""

    NONE = "none"
    EMBEDDINGS = "embeddings"  # prompt-tuning and P-tuning: rows before the text's embeddings
    KEYS_VALUES = "keys_values"  # prefix-tuning: keys and values before the text's, in every layer


@dataclass(slots=True)
class Adapted:
    """`model` is the causal LM itself (with LoRA layers in place where there are any); `peft` PEFT's wrapper around it."""

    model: Any
    method: str
    peft: Any = None
    soft_prompt: SoftPrompt = SoftPrompt.NONE
    num_virtual_tokens: int = 0
    learning_rate_ratio: float = 1.0  # LoRA+: rate of the second matrices over that of the first

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that train, by name."""
        return {name: parameter for name, parameter in self.root.named_parameters() if parameter.requires_grad}

    def frozen(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that must not move."""
        return {name: parameter for name, parameter in self.root.named_parameters() if not parameter.requires_grad}

    def learning_rate_factors(self) -> dict[str, float]:
        """Factors of the learning rate, by name of the parameter, where they are not 1."""
        if self.learning_rate_ratio == 1:
            return {}
        return {name: self.learning_rate_ratio for name in self.trained() if ".lora_B." in name}

    @property
    def root(self) -> Any:
        return self.model if self.peft is None else self.peft

    @property
    def merges(self) -> bool:
        """Whether PEFT's `merge_adapter` can make what is trained part of the base's own weights."""
        return self.peft is not None and peft_type(self.peft.active_peft_config) in MERGED

    def virtual_embeddings(self) -> torch.Tensor:
        """The rows before the text's embeddings, [virtual tokens, hidden size]: trained themselves, or made by P-tuning's encoder.

        The encoder computes in its own precision under autocast, too: so what is saved of it is what training used, bit for bit.
        """
        encoder = self.peft.prompt_encoder[self.peft.active_adapter]
        if not hasattr(encoder, "mlp_head"):  # a loaded P-tuning has none: PEFT saves what it made
            return self._encoder_weight()
        numbers = torch.arange(self.num_virtual_tokens, device=encoder.embedding.weight.device)
        with torch.autocast(numbers.device.type, enabled=False):
            made: torch.Tensor = encoder(numbers[None])[0]
        return made

    def virtual_keys_values(self, kv_heads: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Prefix-tuning's trained keys and values per layer, each [kv heads, virtual tokens, head dim]; PEFT's memory order."""
        weight = self._encoder_weight()
        layers = weight.view(weight.shape[0], -1, 2, kv_heads, self._head_dim(kv_heads)).permute(1, 2, 3, 0, 4)
        return [(layer[0], layer[1]) for layer in layers]

    def trainable_share(self) -> tuple[int, int]:
        """(trainable, all) parameters; all is base plus adapter, as PEFT prints it."""
        trainable = sum(map(_weights_in, self.trained().values()))
        return trainable, trainable + sum(map(_weights_in, self.frozen().values()))

    def save(self, folder: Path) -> None:
        """PEFT's adapter files, or the whole model for full fine-tuning."""
        if self.peft is None:
            self.model.save_pretrained(folder)
        else:
            # Embeddings are never trained; to find that out by itself PEFT would ask the hub for the base's config. Without gradients,
            # as in validation: with them an LSTM's kernel is another, and so are the last bits of what it makes.
            with torch.no_grad():
                self.peft.save_pretrained(folder, state_dict=whole_matrices(self.peft), save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card

    def _encoder_weight(self) -> torch.Tensor:
        weight: torch.Tensor = self.peft.prompt_encoder[self.peft.active_adapter].embedding.weight
        return weight

    def _head_dim(self, kv_heads: int) -> int:
        return int(self.peft.active_peft_config.token_dim) // kv_heads


def peft_type(config: Any) -> str:
    """The type of a PEFT config as it is written in `adapter_config.json`."""
    return str(getattr(config.peft_type, "value", config.peft_type))


def _weights_in(parameter: torch.Tensor) -> int:
    """How many weights it stands for: one in 4 bits holds two in a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(state.shape.numel())
