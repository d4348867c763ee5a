"""A base model in 4 bits (NF4 with double quantisation; Dettmers et al. 2023), by bitsandbytes, on CPU and GPU alike.

Three things go wrong without a word and are put right here. transformers leaves Falcon's linear layers, a class of their own, in 16 bits.
On CPUs that compute in bf16, bitsandbytes packs a layer's weights anew in its first pass outside training, and computes in bf16 from
then on: a frozen tensor changes, and a run no longer computes what it saved. And where a row is no multiple of a block, what its CPU
kernel reads back has errors as large as the weights.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from transformers.pytorch_utils import Conv1D

from codetune.errors import UserError

BLOCK = 64  # weights that share a scale


def bitsandbytes(wanted_by: str) -> Any:
    """The package. Raises UserError in one line where it is not installed."""
    try:
        importlib.import_module("torch._inductor.compile_fx")  # its functions compile when they are called: in a step that is timed
        return importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise UserError(f"{wanted_by} needs bitsandbytes ({error}): pip install 'codetune[quant]'") from None


def nf4_config(compute: torch.dtype) -> Any:
    """For `from_pretrained`. `compute` is the dtype that weights are multiplied in."""
    bitsandbytes("quantize: nf4")
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )


def require_blocks(name: str, kind: Any, config: Any) -> None:
    """Raises UserError, before anything is loaded, for a model with a linear layer that blocks do not divide. `kind` is its auto class."""
    with torch.device("meta"):
        model = kind.from_config(config)
    head = model.get_output_embeddings()
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head:
            inputs = module.weight.shape[0 if isinstance(module, Conv1D) else 1]
            if inputs % BLOCK:
                raise UserError(
                    f"quantize: nf4 needs layers whose inputs are multiples of {BLOCK}; {path} of {name!r} has {inputs}: use method lora"
                )


@contextlib.contextmanager
def plain_linears() -> Iterator[None]:
    """Falcon made of plain linear layers, which are quantised; they compute the same."""
    code: Any = importlib.import_module("transformers.models.falcon.modeling_falcon")
    own = code.FalconLinear
    code.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        code.FalconLinear = own


def random_linears(model: Any, compute: torch.dtype, where: str) -> None:
    """Every linear layer of a model on the meta device but the LM head as one in 4 bits on the device, of random weights, one at a time."""
    layers = bitsandbytes("quantize: nf4").nn
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, torch.nn.Linear | Conv1D) or child is head:
                continue
            shape = child.weight.shape[::-1] if isinstance(child, Conv1D) else child.weight.shape
            made = layers.Linear4bit(shape[1], shape[0], child.bias is not None, compute, True, "nf4", device="meta")
            weights = 0.02 * torch.randn(*shape, dtype=torch.bfloat16, device=where)
            made.weight = layers.Params4bit(weights, requires_grad=False, quant_type="nf4", module=made).to(where)
            if child.bias is not None:
                made.bias = torch.nn.Parameter(torch.zeros(shape[0], device=where), requires_grad=False)
            made._is_hf_initialized = made.weight._is_hf_initialized = True  # transformers would draw its bytes anew
            setattr(parent, name, made)
    model.is_loaded_in_4bit = True
    settle(model, compute)


def settle(model: Any, compute: torch.dtype) -> None:
    """Layers that stay as they are whatever passes through them. Raises UserError where one was left in 16 bits."""
    linear_4bit = bitsandbytes("quantize: nf4").nn.Linear4bit
    head = model.get_output_embeddings()
    for path, module in model.named_modules():
        if isinstance(module, linear_4bit):
            module.support_avx512bf16_for_cpu = False  # it would be packed anew, and compute in bf16
            if module.bias is not None:
                module.bias.data = module.bias.data.to(compute)  # its first pass would do so
        elif isinstance(module, torch.nn.Linear | Conv1D) and module is not head:
            raise UserError(f"quantize: nf4 does not reach {path} of this {model.config.model_type} model: use method lora")
