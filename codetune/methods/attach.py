"""Attach a method to a model through PEFT, or load an adapter that was saved: two ways to the same `Adapted`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codetune.config import (
    BitFitConfig,
    BottleneckConfig,
    FullConfig,
    Ia3Config,
    LnTuningConfig,
    LoraSettings,
    MethodConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PTuningConfig,
    VeraConfig,
)
from codetune.errors import UserError
from codetune.methods.adapted import Adapted, SoftPrompt, peft_type
from codetune.methods.bottleneck import bottleneck_config
from codetune.methods.halved import multiplied_whole, seemingly_whole
from codetune.methods.low_rank import bitfit_config, is_bitfit, lora_config, start_from_largest, train_biases_alone, vera_config
from codetune.methods.refusals import refusal
from codetune.methods.silent import peft, silent
from codetune.methods.soft_prompts import (
    first_embeddings,
    first_keys_values,
    p_tuning_config,
    prefix_tuning_config,
    prompt_tuning_config,
    repeated,
)
from codetune.methods.targets import Targets

_SOFT = {
    "PREFIX_TUNING": SoftPrompt.KEYS_VALUES, "PROMPT_TUNING": SoftPrompt.EMBEDDINGS, "P_TUNING": SoftPrompt.EMBEDDINGS,
}  # fmt: skip


def attach(model: Any, method: MethodConfig, targets: Targets, start_ids: Sequence[int], seed: int) -> Adapted:
    """The model with the method's trainable parameters in place, in float32 (or the model's own dtype where that is wider).

    `start_ids` are the token ids that soft prompts start from (repeated if too few). A size given as a share must have been settled
    (`models.outline.sized`). Raises UserError where the method cannot be had on this model.
    """
    if getattr(method, "trainable_share", None) is not None:
        raise ValueError(f"{method.name}: its size is still a share of the model's parameters")
    if reason := refusal(method, targets):
        raise UserError(reason)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.requires_grad_(isinstance(method, FullConfig) and parameter.is_floating_point())
    if isinstance(method, FullConfig):
        return Adapted(model, method.name)
    if isinstance(method, PromptTuningConfig | PrefixTuningConfig | PTuningConfig):
        return _soft_prompt(model, method, targets, repeated(start_ids, method.num_virtual_tokens))
    with silent(), seemingly_whole(model):
        wrapped = peft.get_peft_model(model, _layer_config(model, method, targets, seed))
    if isinstance(method, BitFitConfig):
        train_biases_alone(wrapped)
    if isinstance(method, LoraSettings) and method.init == "pissa":
        start_from_largest(wrapped)
    ratio = method.learning_rate_ratio if isinstance(method, LoraSettings) else 1.0
    return Adapted(_inner(wrapped), method.name, wrapped, learning_rate_ratio=ratio)


def load_adapter(model: Any, folder: Path, trainable: bool = False) -> Adapted:
    """A saved PEFT adapter of any type on its base model, to be used, or with `trainable` to be trained further.

    Its method is what the file says: a PiSSA is a LoRA of twice the rank once saved, LoRA+ and QLoRA are LoRA. P-tuning's encoder is
    not saved; the embeddings that it made then train themselves. Raises UserError if the folder holds none or it does not fit.
    """
    if not (folder / "adapter_config.json").exists():
        raise UserError(f"no adapter in {folder}: it has no adapter_config.json; give the folder that `codetune train` wrote")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    try:
        with silent(), seemingly_whole(model):
            config = peft.PeftConfig.from_pretrained(str(folder))
            soft = _SOFT.get(peft_type(config), SoftPrompt.NONE)
            if config.is_prompt_learning and soft is SoftPrompt.NONE:
                raise UserError(f"the adapter in {folder} is of type {peft_type(config)}, which codetune does not run; use a lora one")
            from_layers = trainable and not config.is_prompt_learning
            wrapped = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=from_layers)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"the adapter in {folder} does not fit this model: {str(error).splitlines()[0]}") from None
    config = wrapped.active_peft_config
    if not trainable:
        wrapped.requires_grad_(False)
    elif config.is_prompt_learning:
        wrapped.prompt_encoder.requires_grad_(True)
    elif is_bitfit(config):
        train_biases_alone(wrapped)
    return Adapted(_inner(wrapped), _name_of(config), wrapped, soft, getattr(config, "num_virtual_tokens", 0) or 0)


def _layer_config(model: Any, method: MethodConfig, targets: Targets, seed: int) -> Any:
    """PEFT's config of a method that changes layers."""
    match method:
        case LoraSettings():
            return lora_config(method, targets)
        case VeraConfig():
            return vera_config(method, targets, seed)
        case Ia3Config():
            return peft.IA3Config(
                task_type="CAUSAL_LM", target_modules=[*targets.ia3, *targets.ia3_feedforward],
                feedforward_modules=[*targets.ia3_feedforward], fan_in_fan_out=targets.fan_in_fan_out,
            )  # fmt: skip
        case BottleneckConfig():
            return bottleneck_config(method, targets)
        case BitFitConfig():
            return bitfit_config(model, targets)
        case LnTuningConfig():
            return peft.LNTuningConfig(task_type="CAUSAL_LM", target_modules=[*targets.norms])
    raise ValueError(f"no layers to change for {method.name}")


def _soft_prompt(
    model: Any, method: PromptTuningConfig | PrefixTuningConfig | PTuningConfig, targets: Targets, start_ids: Sequence[int]
) -> Adapted:
    start = None
    match method:
        case PromptTuningConfig():
            config, kind = prompt_tuning_config(model, method), SoftPrompt.EMBEDDINGS
            start = first_embeddings(model, method, start_ids)
        case PTuningConfig():
            config, kind = p_tuning_config(model, method), SoftPrompt.EMBEDDINGS
        case PrefixTuningConfig():
            config, kind = prefix_tuning_config(model, method, targets), SoftPrompt.KEYS_VALUES
            with multiplied_whole(model):
                start = first_keys_values(model, method, targets, start_ids)
    with silent():
        wrapped = peft.get_peft_model(model, config)
    if start is not None:
        weight = wrapped.prompt_encoder[wrapped.active_adapter].embedding.weight
        with torch.no_grad():
            weight.copy_(start.to(weight.dtype))
    return Adapted(_inner(wrapped), method.name, wrapped, kind, method.num_virtual_tokens)


def _name_of(config: Any) -> str:
    """A loaded adapter's method in codetune's words; PEFT's own, in small letters, where codetune has none."""
    kind = peft_type(config)
    if kind != "LORA":
        return kind.lower()
    if is_bitfit(config):
        return "bitfit"
    return "dora" if config.use_dora else "rslora" if config.use_rslora else "lora"


def _inner(wrapped: Any) -> Any:
    """The causal LM inside PEFT's wrapper: LoRA has a tuner in between, prompt learning has not."""
    inner = wrapped.base_model
    return inner.model if isinstance(inner, peft.tuners.tuners_utils.BaseTuner) else inner
