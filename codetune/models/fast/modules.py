"""transformers' layers with a faster forward pass: each takes the place of a layer's class, and keeps its parameters and its name."""

from __future__ import annotations

from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from codetune.models.fast.norms import Gelu, LayerNorm, RmsNorm, SwiGlu
from codetune.models.fast.numbers import applied
from codetune.models.fast.rotary import Rotate, for_heads


class FastRmsNorm(torch.nn.Module):
    """Of Llama and its kin: `weight`, `variance_epsilon`."""

    weight: torch.nn.Parameter
    variance_epsilon: float

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return applied(RmsNorm, hidden_states, self.weight, self.variance_epsilon)


class FastLayerNorm(torch.nn.LayerNorm):
    """PyTorch's."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return applied(LayerNorm, input, self.weight, self.bias, self.eps)


class FastGelu(torch.nn.Module):
    """GPT-2's activation, which transformers writes out in eight operations."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return applied(Gelu, input)


class FastGatedMlp(torch.nn.Module):
    """Of Llama and its kin, with SiLU: `gate_proj`, `up_proj`, `down_proj`."""

    gate_proj: torch.nn.Module
    up_proj: torch.nn.Module
    down_proj: torch.nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.down_proj(applied(SwiGlu, self.gate_proj(x), self.up_proj(x)))
        return made


class FastAttention(torch.nn.Module):
    """Of Llama and its kin: rotary positions as one operation."""

    config: Any
    q_proj: torch.nn.Module
    k_proj: torch.nn.Module
    v_proj: torch.nn.Module
    o_proj: torch.nn.Module
    head_dim: int
    layer_idx: int
    scaling: float

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query, key, value = (made(hidden_states).view(shape).transpose(1, 2) for made in (self.q_proj, self.k_proj, self.v_proj))
        angles = for_heads(*position_embeddings)
        query, key = applied(Rotate, query, *angles), applied(Rotate, key, *angles)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, sdpa_attention_forward)
        out, weights = attend(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.o_proj(out.reshape(*hidden_states.shape[:-1], -1)), weights
