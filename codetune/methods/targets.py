"""Where in a model a method may take hold: names of layers, and the shapes that soft prompts need."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Targets:
    """Of one model. Suffixes such as `attn.c_proj` name every module whose path ends with them, as PEFT's `target_modules` do."""

    linear: tuple[str, ...]  # leaf names of all linear layers but the LM head
    attention_output: tuple[str, ...]  # suffixes of the layers with which attention writes into the stream; empty: not known
    mlp_output: tuple[str, ...]  # the same of the MLP
    ia3: tuple[str, ...]  # suffixes of the layers that make keys and values (with the queries where they are fused)
    ia3_feedforward: tuple[str, ...]  # suffixes of the layers whose input IA3 scales in the MLP
    norms: tuple[str, ...]  # leaf names of norms that have weights
    has_biases: bool  # besides those of norms
    kv_heads: int
    head_dim: int
    fan_in_fan_out: bool  # weights are [inputs, outputs]: GPT-2's Conv1D
    encoder_decoder: bool = False

    @property
    def task_type(self) -> str:
        """What PEFT calls the model's kind."""
        return "SEQ_2_SEQ_LM" if self.encoder_decoder else "CAUSAL_LM"
