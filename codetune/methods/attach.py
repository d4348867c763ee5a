"""Attach a method to a model through PEFT, with initialisations that work (not PEFT's N(0,1) for soft prompts).

Soft prompts start from the first tokens of a real training prompt, given by the caller as token ids: its embeddings for
prompt-tuning, its keys and values for prefix-tuning, so that training starts where a prompt in words would put the model.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import peft
import torch

from codetune.config import FullConfig, LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig
from codetune.errors import UserError
from codetune.methods.adapted import Adapted, SoftPrompt

_SOFT = {"PREFIX_TUNING": SoftPrompt.KEYS_VALUES, "PROMPT_TUNING": SoftPrompt.EMBEDDINGS}
_NAMES = {"LORA": "lora", "PREFIX_TUNING": "prefix_tuning", "PROMPT_TUNING": "prompt_tuning"}


def attach(
    model: Any, method: MethodConfig, linear_layers: Sequence[str], kv_shape: tuple[int, int], start_ids: Sequence[int], seed: int
) -> Adapted:
    """The model with the method's trainable parameters in place, in float32 (or the model's own dtype where that is wider).

    `kv_shape` is (kv heads, head dim); `start_ids` are the token ids that soft prompts start from (repeated if too few).
    Raises UserError where the method cannot be had on this model.
    """
    torch.manual_seed(seed)
    if isinstance(method, FullConfig):
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return Adapted(model, "full")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if isinstance(method, LoraConfig):
        return _lora(model, method, linear_layers)
    assert isinstance(method, PromptTuningConfig | PrefixTuningConfig)
    ids = [start_ids[i % len(start_ids)] for i in range(method.num_virtual_tokens)] if start_ids else []
    if isinstance(method, PromptTuningConfig):
        return _prompt_tuning(model, method, ids)
    assert isinstance(method, PrefixTuningConfig)
    return _prefix_tuning(model, method, kv_shape, ids)


def load_adapter(model: Any, folder: Path, trainable: bool = False) -> Adapted:
    """A saved PEFT adapter on its base model, to be used or `trainable`. Raises UserError if the folder holds none or it does not fit."""
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"no adapter in {folder}: it has no adapter_config.json; give the folder that `codetune train` wrote")
    try:
        with _quiet():
            soft = peft.PeftConfig.from_pretrained(str(folder)).is_prompt_learning
            wrapped = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable and not soft)
            wrapped = wrapped if trainable and not soft else wrapped.requires_grad_(False)
            if trainable and soft:  # PEFT refuses to load these for training
                wrapped.prompt_encoder.requires_grad_(True)
                wrapped.active_peft_config.inference_mode = False
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"the adapter in {folder} does not fit this model: {str(error).splitlines()[0]}") from None
    kind = wrapped.active_peft_config.peft_type.value
    tokens = getattr(wrapped.active_peft_config, "num_virtual_tokens", 0) or 0
    return Adapted(_inner(wrapped), _NAMES.get(kind, kind.lower()), wrapped, _SOFT.get(kind, SoftPrompt.NONE), tokens)


def _lora(model: Any, method: LoraConfig, linear_layers: Sequence[str]) -> Adapted:
    targets = list(linear_layers) if method.target_modules == "all-linear" else list(method.target_modules)
    unknown = sorted(set(targets) - set(linear_layers))
    if unknown:
        raise UserError(f"target_modules {unknown}: this model's linear layers are {', '.join(linear_layers)}")
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=method.lora_rank, lora_alpha=method.lora_alpha, lora_dropout=method.lora_dropout, target_modules=targets,
        fan_in_fan_out=model.config.model_type == "gpt2",
    )  # fmt: skip
    wrapped = _wrapped(model, config)
    return Adapted(_inner(wrapped), "lora", wrapped)


def _prompt_tuning(model: Any, method: PromptTuningConfig, start_ids: Sequence[int]) -> Adapted:
    embedding = model.get_input_embeddings().weight
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=method.num_virtual_tokens, token_dim=embedding.shape[1],
        num_layers=model.config.num_hidden_layers, num_attention_heads=model.config.num_attention_heads,
    )  # fmt: skip
    wrapped = _wrapped(model, config)
    if method.init == "vocabulary" or not start_ids:
        start_ids = torch.randint(embedding.shape[0], (method.num_virtual_tokens,)).tolist()
    adapted = Adapted(_inner(wrapped), "prompt_tuning", wrapped, SoftPrompt.EMBEDDINGS, method.num_virtual_tokens)
    _set(adapted.virtual_embeddings(), embedding[list(start_ids)])
    return adapted


def _prefix_tuning(model: Any, method: PrefixTuningConfig, kv_shape: tuple[int, int], start_ids: Sequence[int]) -> Adapted:
    heads, head_dim = kv_shape
    start = torch.zeros(method.num_virtual_tokens, model.config.num_hidden_layers * 2 * heads * head_dim)
    if method.init == "text" and start_ids:
        start = _text_keys_values(model, start_ids)
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=method.num_virtual_tokens, token_dim=heads * head_dim,
        num_layers=model.config.num_hidden_layers, num_attention_heads=heads,
    )  # fmt: skip
    wrapped = _wrapped(model, config)
    adapted = Adapted(_inner(wrapped), "prefix_tuning", wrapped, SoftPrompt.KEYS_VALUES, method.num_virtual_tokens)
    _set(adapted._encoder_weight(), start)
    return adapted


@torch.no_grad()
def _text_keys_values(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Keys and values that the model computes for a text, in PEFT's order [tokens, layers * (key, value) * heads * head dim]."""
    was_training = model.training
    model.eval()
    cache = model(torch.tensor([list(ids)], device=model.device), use_cache=True).past_key_values
    model.train(was_training)
    layers = [torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers]  # each [2, heads, tokens, head dim]
    return torch.stack(layers).permute(3, 0, 1, 2, 4).flatten(1)


@torch.no_grad()
def _set(parameter: torch.Tensor, value: torch.Tensor) -> None:
    parameter.copy_(value.to(parameter.dtype))


def _wrapped(model: Any, config: Any) -> Any:
    with _quiet():
        return peft.get_peft_model(model, config)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PEFT warns of what is its own business, such as names that transformers is about to change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _inner(wrapped: Any) -> Any:
    """The causal LM inside PEFT's wrapper: LoRA has a tuner in between, prompt learning has not."""
    inner = wrapped.base_model
    return inner.model if isinstance(inner, peft.tuners.tuners_utils.BaseTuner) else inner
