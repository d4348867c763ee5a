"""Precision policies: in which numbers a run keeps weights, multiplies and updates. One policy serves all methods that are compared.

    fp32            everything in float32
    bf16            products in bf16 (autocast); weights that train, their gradients and the optimiser in float32
    bf16_weights    every weight in bf16, what trains updated through float32 and rounded at random; products in bf16
    auto            bf16 where the device computes in it, else fp32

fp16 is none of them: its range would need a loss scale, whose steps differ between methods. Bytes per parameter are in
docs/precision.md.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from codetune.config import BitFitConfig, LoraSettings, MethodConfig, Quantize, TrainConfig, TrainPrecision, TrainRecipe
from codetune.methods import Adapted
from codetune.methods.low_rank import chosen_layers
from codetune.models.families import targets_of
from codetune.models.fast.products import PLAIN_LINEARS
from codetune.models.forecast import Machine
from codetune.models.machine import computes_in_bf16, device, settled_precision
from codetune.models.quantized import bitsandbytes


def on_this_machine(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with its device and precision chosen, as this machine has them; a settled one stays as it is.

    Raises UserError for a device that is not there, and for a package that an optimiser or a 4-bit base needs.
    """
    chosen = device(recipe.device)
    precision = settled_precision(recipe.train.precision, chosen)
    if recipe.train.optimizer == "adamw_8bit":
        bitsandbytes("optimizer: adamw_8bit")
    if quantize_of(recipe) == "nf4":
        bitsandbytes("quantize: nf4")
    return recipe.model_copy(update={"device": chosen, "train": recipe.train.model_copy(update={"precision": precision})})


def on_machine(recipe: TrainRecipe, machine: Machine) -> TrainRecipe:
    """The recipe as it would be settled on a machine; one that is not here is taken to have every device and package asked for."""
    if machine.here:
        return on_this_machine(recipe)
    precision = recipe.train.precision
    if precision == "auto":
        precision = "bf16" if machine.bf16 else "fp32"
    return recipe.model_copy(update={"device": machine.device, "train": recipe.train.model_copy(update={"precision": precision})})


def slow_here(recipe: TrainRecipe) -> str:
    """What to say where a settled recipe asks for bf16 and its device must imitate it; else ""."""
    if recipe.train.precision.startswith("bf16") and not computes_in_bf16(recipe.device):
        return f"this machine's {recipe.device} does not compute in bf16 itself and will be slow: --set train.precision=fp32 is faster here"
    return ""


def quantize_of(recipe: TrainRecipe) -> Quantize:
    """Whether the method's frozen base is in 4 bits."""
    found: Quantize = getattr(recipe.method, "quantize", "none")
    return found


def loading(recipe: TrainRecipe, whole: bool = False) -> dict[str, Any]:
    """How a settled recipe's base is loaded: the keywords of `load_model`. `whole`: without its frozen matrices in bf16 already."""
    precision = recipe.train.precision
    dtype = torch.bfloat16 if precision == "bf16_weights" else torch.float32
    settings: dict[str, Any] = {"dtype": dtype, "device": recipe.device, "quantize": quantize_of(recipe)}
    settings["compute"] = product_dtype(precision)
    if recipe.train.precision == "bf16" and recipe.method.name != "full" and quantize_of(recipe) == "none" and not whole:
        settings["halved"] = partial(to_be_frozen, recipe.method)
    return settings


def product_dtype(precision: TrainPrecision) -> torch.dtype:
    """What a settled precision multiplies in."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


def autocast(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in bf16 with norms, softmax and loss in fp32; or all of it in the weights' own dtype."""
    return torch.autocast(device.type, torch.bfloat16) if config.precision.startswith("bf16") else contextlib.nullcontext()


def narrow(adapted: Adapted, precision: TrainPrecision) -> None:
    """Weights as the policy keeps them, once the method is in place."""
    if precision == "bf16":
        halve_frozen_linears(adapted)
    elif precision == "bf16_weights":
        for parameter in adapted.root.parameters():
            if parameter.is_floating_point():  # what is in 4 bits is packed in bytes
                parameter.data = parameter.data.to(torch.bfloat16)


def to_be_frozen(method: MethodConfig, model: Any) -> list[torch.nn.Parameter]:
    """Of a model without the method yet, what `halve_frozen_linears` will find to halve with it: so it is loaded that way at once."""
    tied, measured, found = model.get_input_embeddings().weight, list[str](), list[torch.nn.Parameter]()
    if isinstance(method, LoraSettings) and method.dora:
        measured = chosen_layers(method.target_modules, targets_of(model))
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear | Conv1D) or name.rpartition(".")[2] in measured or module.weight is tied:
            continue
        added_inside = type(module) in PLAIN_LINEARS and not isinstance(method, BitFitConfig)
        found += [own for key, own in module.named_parameters(recurse=False) if key == "weight" or added_inside]
    return found


def halve_frozen_linears(adapted: Adapted) -> None:
    """Frozen matrices of linear layers once in bf16: what autocast would make of them anew in each pass, bit for bit.

    Not those whose length DoRA measures in fp32, nor an embedding that is the LM head's too. Biases go with them where the layer adds
    them in the product itself.
    """
    tied = adapted.model.get_input_embeddings().weight
    measured = {id(layer.get_base_layer()) for layer in adapted.model.modules() if len(getattr(layer, "lora_magnitude_vector", ()))}
    for module in adapted.model.modules():
        if not isinstance(module, torch.nn.Linear | Conv1D) or id(module) in measured or module.weight is tied:
            continue
        for parameter in (module.weight, module.bias if type(module) in PLAIN_LINEARS else None):
            if parameter is not None and not parameter.requires_grad and parameter.dtype == torch.float32:
                parameter.data = parameter.data.to(torch.bfloat16)
