"""Tiny random encoder-decoder models with their real config classes, in float64 unless asked otherwise: T5, gated T5 and PLBART."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers

from codetune.config import DoraConfig, FullConfig, LoraConfig, LoraPlusConfig, MethodConfig, PissaConfig, RsLoraConfig
from codetune.data.tokenise import TokenisedExamples, join
from codetune.methods import Adapted, attach
from codetune.models.families import Family, Marks, family_of, targets_of
from codetune.models.load import no_dropout
from tests.exactness.tiny import VOCAB

MODELS = ("t5", "t5 gated", "plbart")
PAIR_METHODS: dict[str, MethodConfig] = {"full": FullConfig(), "lora": LoraConfig(lora_rank=3, lora_alpha=6)}
RELATIVES: dict[str, MethodConfig] = {
    "rslora": RsLoraConfig(lora_rank=3, lora_alpha=6),
    "dora": DoraConfig(lora_rank=3, lora_alpha=6),
    "pissa": PissaConfig(lora_rank=3, lora_alpha=6),
    "lora_plus": LoraPlusConfig(lora_rank=3, lora_alpha=6),
}
TOLERANCE = {"t5": 1e-6, "t5 gated": 1e-6, "plbart": 1e-12}  # T5 computes its RMSNorm in float32
END, BEGIN, POSITIONS = 2, 1, 48


def config_of(name: str) -> Any:
    if name == "plbart":
        return transformers.PLBartConfig(
            vocab_size=VOCAB, d_model=16, encoder_layers=2, decoder_layers=3, encoder_ffn_dim=24, decoder_ffn_dim=20,
            encoder_attention_heads=4, decoder_attention_heads=2, max_position_embeddings=POSITIONS, forced_eos_token_id=None,
        )  # fmt: skip
    gated: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if name == "t5 gated" else {}
    return transformers.T5Config(
        vocab_size=VOCAB, d_model=16, d_kv=5, d_ff=24, num_layers=2, num_decoder_layers=3, num_heads=4, relative_attention_num_buckets=8,
        relative_attention_max_distance=12, decoder_start_token_id=0, bos_token_id=BEGIN, eos_token_id=END, **gated,
    )  # fmt: skip


def tiny(name: str, dtype: torch.dtype = torch.float64, seed: int = 0, marks: Marks | None = None) -> tuple[Any, Family]:
    """A random model whose weights are large enough that an error in a mask shows in every logit, PLBART's bias of the logits too."""
    torch.manual_seed(seed)
    config = config_of(name)
    no_dropout(config)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config, attn_implementation="sdpa").to(dtype)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                looked_up = "shared" in parameter_name or "embed" in parameter_name or "lm_head" in parameter_name
                parameter.normal_(0, 0.35 if not looked_up or name == "plbart" else 1.0)
            elif "bias" in parameter_name:
                parameter.normal_(0, 0.1)
        if name == "plbart":
            model.final_logits_bias.normal_(0, 0.5)
    family = family_of(config)
    return model, family if marks is None else replace(family, marks=marks)


def adapted_tiny(name: str, method: str | MethodConfig, dtype: torch.dtype = torch.float64) -> tuple[Adapted, Family]:
    """With the method on it, its trained tensors moved off their start."""
    model, family = tiny(name, dtype)
    chosen = PAIR_METHODS[method] if isinstance(method, str) else method
    adapted = attach(model, chosen, targets_of(model), [], 0)
    adapted.root.to(dtype)
    adapted.root.train()
    if chosen.name != "full":
        generator = torch.Generator().manual_seed(1)
        size = 0.2 if name == "plbart" else 0.3
        with torch.no_grad():
            for parameter in adapted.trained().values():
                parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype))
    return adapted, family


def pairs() -> TokenisedExamples:
    """Prompts from 1 to 30 tokens, answers from 1 to 14 and EOS: longer than T5's buckets tell apart."""
    rng = np.random.default_rng(3)
    prompts, answers = (4, 30, 1, 9, 17, 2, 12), (3, 8, 14, 1, 5, 11, 2)
    ids = [[*rng.integers(3, VOCAB, prompt + answer).tolist(), END] for prompt, answer in zip(prompts, answers, strict=True)]
    return join(ids, prompts)


def split(data: TokenisedExamples, index: int) -> tuple[list[int], list[int]]:
    """Prompt and answer of an example, as lists."""
    targets = data.targets(index)
    return data.example(index)[~targets].tolist(), data.example(index)[targets].tolist()
