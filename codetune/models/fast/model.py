"""Which of the faster computations a model gets, by what it is made of."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners import lora
from transformers.activations import NewGELUActivation
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralAttention, MistralMLP, MistralRMSNorm
from transformers.pytorch_utils import Conv1D

from codetune.models.fast.gpu import speed_up_on_gpu
from codetune.models.fast.linear import FastLoraLinear
from codetune.models.fast.modules import FastAttention, FastGatedMlp, FastGelu, FastLayerNorm, FastRmsNorm
from codetune.models.fast.products import FastConv1D, FastLinear

_MARK = "codetune_fast"
_FASTER: dict[type[Any], type[Any]] = {
    torch.nn.Linear: FastLinear, Conv1D: FastConv1D, lora.Linear: FastLoraLinear,
    torch.nn.LayerNorm: FastLayerNorm, NewGELUActivation: FastGelu,
    LlamaRMSNorm: FastRmsNorm, LlamaMLP: FastGatedMlp, LlamaAttention: FastAttention,
    MistralRMSNorm: FastRmsNorm, MistralMLP: FastGatedMlp, MistralAttention: FastAttention,
}  # fmt: skip
_MADE: dict[tuple[type[Any], type[Any]], type[Any]] = {}


def speed_up(model: Any, where: str, compiled: bool = False) -> None:
    """Put what is faster on the device `where` in the place of what the model's layers compute; what is in place already stays.

    To be called again once a method has changed the layers. Loss and attention ask `is_fast`. `compiled`: the layers are to be compiled.
    """
    if where.startswith("cuda"):
        speed_up_on_gpu(model, compiled)
    for module in model.modules():
        faster = _FASTER.get(type(module))
        if faster is not None and _fits(module):
            module.__class__ = _both(faster, type(module))
    setattr(model, _MARK, True)


def is_fast(model: Any) -> bool:
    """Whether `speed_up` was called on the model."""
    return bool(getattr(model, _MARK, False))


def _fits(module: Any) -> bool:
    """Whether a layer of such a class is built as most of them are."""
    if isinstance(module, torch.nn.LayerNorm):
        return bool(module.elementwise_affine)
    return isinstance(getattr(module, "act_fn", torch.nn.SiLU()), torch.nn.SiLU) or type(module.act_fn).__name__ == "SiLUActivation"


def _both(faster: type[Any], plain: type[Any]) -> type[Any]:
    """The plain class with the faster forward pass: an instance stays what it was for everybody who asks."""
    if (faster, plain) not in _MADE:
        _MADE[faster, plain] = faster if issubclass(faster, plain) else type(f"Fast{plain.__name__}", (faster, plain), {})
    return _MADE[faster, plain]
