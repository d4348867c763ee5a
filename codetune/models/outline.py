"""A model without its weights: the shapes that forecasts need, its tokenizer and its family's facts, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.pytorch_utils import Conv1D

from codetune.config import LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig, TrainRecipe
from codetune.errors import UserError
from codetune.models.families import Family, family_of, linear_layers
from codetune.models.load import LoadedModel, TextTokenizer, new_model, quiet, reason_of
from codetune.models.names import resolve

_WRITTEN_OUT = {"gelu_new", "gelu_fast", "gelu_accurate"}  # transformers computes these step by step


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of the decoder (the LM head is none)."""

    name: str  # its leaf, as `target_modules` has it
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Outline:
    """What a model looks like. `parameters` counts tied matrices once."""

    family: Family
    parameters: int
    heads: int
    activation_copies: int  # tensors of the widest layer's size that its activation function keeps for the backward pass
    linears: tuple[Linear, ...]

    @property
    def linear_parameters(self) -> int:
        return sum(linear.inputs * linear.outputs for linear in self.linears)


def load_outline(recipe: TrainRecipe) -> LoadedModel:
    """The recipe's model on torch's meta device, with its real tokenizer: nothing of its size is read or held in memory.

    Raises UserError where the model is not there or is of a kind that cannot be tuned.
    """
    try:
        if recipe.architecture is not None:
            return new_model(Path(recipe.model), recipe.architecture, recipe.seed)
        where = resolve(recipe.model)
        quiet()
        config = transformers.AutoConfig.from_pretrained(where)
        family = family_of(config)
        tokenizer = TextTokenizer(transformers.AutoTokenizer.from_pretrained(where))
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError) as error:
        hint = " (`codetune data prepare` with this recipe makes its tokenizer)" if recipe.architecture is not None else ""
        raise UserError(f"cannot load model {recipe.model!r}: {reason_of(error)}{hint}") from None
    return LoadedModel(recipe.model, model, tokenizer, family, "")


def outline_of(model: Any) -> Outline:
    """The shapes of a causal LM, on the meta device or not."""
    targets = set(linear_layers(model))
    linears = []
    for name, module in model.named_modules():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in targets and isinstance(module, torch.nn.Linear | Conv1D):
            shape = module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
            linears.append(Linear(leaf, shape[0], shape[1]))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    activation = getattr(model.config, "hidden_act", None) or getattr(model.config, "activation_function", None)
    copies = 3 if activation in _WRITTEN_OUT else 1
    return Outline(family_of(model.config), parameters, model.config.num_attention_heads, copies, tuple(linears))


def trained_parameters(outline: Outline, method: MethodConfig) -> int:
    """How many parameters the method trains. Raises UserError for `target_modules` that the model has not."""
    family = outline.family
    if isinstance(method, LoraConfig):
        return sum(method.lora_rank * (linear.inputs + linear.outputs) for linear in lora_targets(outline, method))
    if isinstance(method, PromptTuningConfig):
        return method.num_virtual_tokens * family.hidden_size
    if isinstance(method, PrefixTuningConfig):
        return method.num_virtual_tokens * 2 * family.num_layers * family.kv_heads * family.head_dim
    return outline.parameters


def lora_targets(outline: Outline, method: LoraConfig) -> list[Linear]:
    """The linear layers that get an adapter."""
    names = {linear.name for linear in outline.linears}
    wanted = names if method.target_modules == "all-linear" else set(method.target_modules)
    if unknown := sorted(wanted - names):
        raise UserError(f"target_modules {unknown}: this model's linear layers are {', '.join(sorted(names))}")
    return [linear for linear in outline.linears if linear.name in wanted]
