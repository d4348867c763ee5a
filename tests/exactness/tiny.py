"""Tiny random models of each decoder family, with its real config class, in float64: mechanics, not quality."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from codetune.methods import Adapted, attach
from codetune.models.attention import use_document_attention
from codetune.models.families import Family, family_of, targets_of
from codetune.models.load import no_dropout
from codetune.probe import subject

VOCAB = 61
FAMILIES = ("gpt2", "llama", "mistral", "falcon")
METHODS = {name: method for name, method in subject.METHODS.items() if name != "qlora"}  # whose base is in 4 bits
PAIRS = [(family, method) for family in FAMILIES for method in METHODS if method != "bitfit" or family == "gpt2"]  # which has biases
KINDS = ("full", "lora", "prefix_tuning", "prompt_tuning", "p_tuning")  # one for each way in which a method meets rows and batches
# Llama and Mistral compute RMSNorm in float32 whatever the model's dtype is.
TOLERANCE = {"gpt2": 1e-12, "falcon": 1e-12, "llama": 1e-6, "mistral": 1e-6}


def config_of(family: str) -> Any:
    if family == "gpt2":
        return transformers.GPT2Config(vocab_size=VOCAB, n_positions=96, n_embd=16, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0)
    if family == "falcon":
        return transformers.FalconConfig(
            vocab_size=VOCAB, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, multi_query=True, parallel_attn=True, alibi=False,
            new_decoder_architecture=False, bias=False, max_position_embeddings=96, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    shape: dict[str, Any] = {
        "vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 96, "bos_token_id": 1, "eos_token_id": 0,
    }  # fmt: skip
    if family == "llama":
        return transformers.LlamaConfig(**shape)
    return transformers.MistralConfig(**shape, num_key_value_heads=2, sliding_window=7)


def tiny(family: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Any, Family]:
    """A random model whose weights are large enough that an error in a mask shows in every logit."""
    torch.manual_seed(seed)
    config = config_of(family)
    no_dropout(config)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.35 if "wte" not in name and "embed" not in name else 1.0)
            elif "bias" in name:
                parameter.normal_(0, 0.1)
    use_document_attention(model)
    return model, family_of(config)


def adapted_tiny(family: str, method: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Adapted, Family]:
    """A tiny model with the method on it, its trained tensors moved off their start so that every one of them matters."""
    model, facts = tiny(family, dtype, seed)
    adapted = attach(model, METHODS[method], targets_of(model), [7, 8, 9], seed)
    adapted.root.to(dtype)
    adapted.root.train()
    if method != "full":
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in adapted.trained().values():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype))
    return adapted, facts
