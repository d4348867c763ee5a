"""Methods that put trained virtual tokens before the text, through PEFT, with initialisations that work (not PEFT's N(0,1)).

Prompts start from the first tokens of a text: its embeddings for prompt-tuning, its keys and values for prefix-tuning, so that
training starts where a prompt in words would put the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from codetune.config import PrefixTuningConfig, PromptTuningConfig, PTuningConfig
from codetune.methods.silent import peft
from codetune.methods.targets import Targets


def prompt_tuning_config(model: Any, method: PromptTuningConfig) -> Any:
    return peft.PromptTuningConfig(**_shape(model, method.num_virtual_tokens))


def p_tuning_config(model: Any, method: PTuningConfig) -> Any:
    """The encoder starts at random, as PEFT's does; of an LSTM there are two layers, in both directions."""
    return peft.PromptEncoderConfig(
        **_shape(model, method.num_virtual_tokens), encoder_reparameterization_type=method.encoder.upper(),
        encoder_hidden_size=method.encoder_hidden_size,
    )  # fmt: skip


def prefix_tuning_config(model: Any, method: PrefixTuningConfig, targets: Targets) -> Any:
    """With the heads that the cache has, which PEFT by itself would get wrong for multi-query attention."""
    return peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=method.num_virtual_tokens, token_dim=targets.kv_heads * targets.head_dim,
        num_layers=model.config.num_hidden_layers, num_attention_heads=targets.kv_heads,
    )  # fmt: skip


def first_embeddings(model: Any, method: PromptTuningConfig, ids: Sequence[int]) -> torch.Tensor:
    """What prompt-tuning starts from, [virtual tokens, hidden size]: the embeddings of `ids`, or of random words of the vocabulary."""
    embedding = model.get_input_embeddings().weight
    if method.init == "vocabulary" or not ids:
        ids = torch.randint(embedding.shape[0], (method.num_virtual_tokens,)).tolist()
    rows: torch.Tensor = embedding.detach()[list(ids)]
    return rows


@torch.no_grad()
def first_keys_values(model: Any, method: PrefixTuningConfig, targets: Targets, ids: Sequence[int]) -> torch.Tensor:
    """What prefix-tuning starts from, in PEFT's order [tokens, layers * (key, value) * heads * head dim]: zeros, or those of a text."""
    if method.init == "zeros" or not ids:
        width = model.config.num_hidden_layers * 2 * targets.kv_heads * targets.head_dim
        return torch.zeros(method.num_virtual_tokens, width)
    was_training = model.training
    model.eval()
    cache = model(torch.tensor([list(ids)], device=model.device), use_cache=True).past_key_values
    model.train(was_training)
    layers = [torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers]  # each [2, heads, tokens, head dim]
    return torch.stack(layers).permute(3, 0, 1, 2, 4).flatten(1)


def repeated(ids: Sequence[int], count: int) -> list[int]:
    """The first `count` of the ids, from the start again where they are too few; none of none."""
    return [ids[i % len(ids)] for i in range(count)] if ids else []


def _shape(model: Any, num_virtual_tokens: int) -> dict[str, Any]:
    return {
        "task_type": "CAUSAL_LM", "num_virtual_tokens": num_virtual_tokens, "token_dim": model.get_input_embeddings().weight.shape[1],
        "num_layers": model.config.num_hidden_layers, "num_attention_heads": model.config.num_attention_heads,
    }  # fmt: skip
