"""A model without its weights: the shapes that forecasts need, its tokenizer and its family's facts, whatever its size."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from codetune.config import (
    Architecture,
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
    Sized,
    TrainRecipe,
    VeraConfig,
)
from codetune.errors import UserError
from codetune.methods.bottleneck import bottleneck_places
from codetune.methods.low_rank import chosen_layers
from codetune.methods.refusals import refusal
from codetune.methods.targets import Targets
from codetune.models.families import Family, family_of, targets_of
from codetune.models.load import LoadedModel, attention_of, auto_model, load_tokenizer, new_model, read_config, reason_of
from codetune.models.seq2seq import with_marks


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of the decoder (the LM head is none)."""

    name: str  # its leaf, as `target_modules` has it
    inputs: int
    outputs: int
    path: str  # its whole name, which the suffixes of `Targets` end

    def ends(self, suffixes: tuple[str, ...]) -> bool:
        return any(f".{self.path}".endswith(f".{suffix}") for suffix in suffixes)


@dataclass(frozen=True, slots=True)
class Outline:
    """What a model looks like. `parameters` counts tied matrices once."""

    family: Family
    parameters: int
    heads: int
    linears: tuple[Linear, ...]
    targets: Targets
    biases: int  # parameters in biases, those of norms included
    norms: int  # parameters of norms

    @property
    def linear_parameters(self) -> int:
        return sum(linear.inputs * linear.outputs for linear in self.linears)


def load_outline(recipe: TrainRecipe) -> LoadedModel:
    """The recipe's model on torch's meta device, with its real tokenizer: nothing of its size is read or held in memory.

    Raises UserError where the model is not there or is of a kind that cannot be tuned.
    """
    if recipe.architecture is not None:
        return _new_outline(recipe, recipe.architecture)
    config, family = read_config(recipe.model)
    tokenizer = load_tokenizer(recipe.model)
    try:
        model = without_data(config)
    except ValueError as error:
        raise UserError(f"cannot load model {recipe.model!r}: {reason_of(error)}") from None
    return LoadedModel(recipe.model, model, tokenizer, with_marks(family, config, tokenizer.inner), "")


def _new_outline(recipe: TrainRecipe, architecture: Architecture) -> LoadedModel:
    try:
        return new_model(Path(recipe.model), architecture, recipe.seed)
    except (OSError, ValueError) as error:
        hint = "`codetune data prepare` with this recipe makes its tokenizer"
        raise UserError(f"cannot load model {recipe.model!r}: {reason_of(error)} ({hint})") from None


def without_data(config: Any) -> Any:
    """A model of this config on the meta device, in float32; its own config says, as the given one, what it is published in."""
    with torch.device("meta"):
        kind, own = auto_model(family_of(config)), copy.deepcopy(config)
        model = kind.from_config(own, attn_implementation=attention_of(config), dtype=torch.float32)
    model.config.dtype = config.dtype
    return model


def outline_of(model: Any) -> Outline:
    """The shapes of a causal LM without a method, on the meta device or not, in 4 bits or not."""
    targets = targets_of(model)
    linears, norms = [], 0
    for name, module in model.named_modules():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in targets.norms:
            norms += sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if leaf in targets.linear and isinstance(module, torch.nn.Linear | Conv1D):
            shape = (module.nx, module.nf) if isinstance(module, Conv1D) else (module.in_features, module.out_features)
            linears.append(Linear(leaf, *shape, name))
    biases = sum(parameter.numel() for name, parameter in model.named_parameters() if name.endswith(".bias"))
    return Outline(
        family_of(model.config), model.num_parameters(), model.config.num_attention_heads, tuple(linears), targets, biases, norms
    )


def trained_parameters(outline: Outline, method: MethodConfig) -> int:
    """How many parameters the method trains. Raises UserError for `target_modules` that the model has not."""
    family, targets = outline.family, outline.targets
    match method:
        case FullConfig():
            return outline.parameters
        case LoraSettings():
            layers = lora_targets(outline, method)
            return sum(method.lora_rank * (layer.inputs + layer.outputs) + method.dora * layer.outputs for layer in layers)
        case VeraConfig():
            return sum(method.vera_rank + layer.outputs for layer in lora_targets(outline, method))
        case Ia3Config():
            scaled = sum(layer.outputs for layer in outline.linears if layer.ends(targets.ia3))
            return scaled + sum(layer.inputs for layer in outline.linears if layer.ends(targets.ia3_feedforward))
        case BottleneckConfig():
            behind = [layer.outputs for layer in outline.linears if layer.ends(bottleneck_places(method, targets))]
            return sum(2 * width * method.bottleneck_size + width + method.bottleneck_size for width in behind)
        case BitFitConfig():
            return outline.biases
        case LnTuningConfig():
            return outline.norms
        case PromptTuningConfig():
            return method.num_virtual_tokens * family.hidden_size
        case PrefixTuningConfig():
            return method.num_virtual_tokens * 2 * family.num_layers * family.kv_heads * family.head_dim
        case PTuningConfig():
            return method.num_virtual_tokens * family.hidden_size + _encoder_parameters(method, family.hidden_size)


def settled(method: MethodConfig, outline: Outline) -> MethodConfig:
    """The method as the model can have it, its size as a number. Raises UserError in one line where it cannot, or has no such layers."""
    if reason := refusal(method, outline.targets):
        raise UserError(reason)
    found = sized(method, outline)
    trained_parameters(outline, found)  # where it takes hold of layers by name, they are there
    return found


def sized(method: MethodConfig, outline: Outline) -> MethodConfig:
    """The method with its size as a number: where a share of the model's parameters is given, the largest that stays within it.

    Raises UserError where size 1 would be more.
    """
    if not isinstance(method, Sized) or method.trainable_share is None:
        return method

    def of_size(size: int) -> MethodConfig:
        found = {method.size_key: size, "trainable_share": None}
        if isinstance(method, LoraSettings) and not method.rslora:  # the same scale at every rank
            found["lora_alpha"] = method.lora_alpha * size / LoraSettings.model_fields["lora_rank"].default
        return method.model_copy(update=found)

    allowed = int(method.trainable_share * outline.parameters)
    one, two = (trained_parameters(outline, of_size(size)) for size in (1, 2))  # it grows by the same number with each
    if one > allowed:
        share = f"{one:,} parameters, {one / outline.parameters:.2g} of the model's"
        raise UserError(f"trainable_share {method.trainable_share:g}: {method.name} with {method.size_key} 1 has {share}; allow more")
    return of_size(1 + (allowed - one) // (two - one))


def lora_targets(outline: Outline, method: LoraSettings | VeraConfig) -> list[Linear]:
    """The linear layers that get an adapter."""
    wanted = chosen_layers(method.target_modules, outline.targets)
    return [linear for linear in outline.linears if linear.name in wanted]


def _encoder_parameters(method: PTuningConfig, width: int) -> int:
    """P-tuning's network: three linear layers, or an LSTM of two layers in both directions and two linear ones."""
    inner = method.encoder_hidden_size
    if method.encoder == "mlp":
        return (width + 1) * inner + (inner + 1) * inner + (inner + 1) * width
    lstm = sum(2 * 4 * inner * (inputs + inner + 2) for inputs in (width, 2 * inner))
    return lstm + (2 * inner + 1) * 2 * inner + (2 * inner + 1) * width
