"""Decoder layers compiled by torch.compile: each layer is one region, and what is compiled for one serves all of its kind.

A layer of a small model is many small operations, each of which a GPU is through with before the next one is there. The compiler makes
few of them (`train.compile: true`); recorded as a CUDA graph, a layer is started as one (`cuda_graphs`). Attention is within the region:
all that depends on the data reaches it as tensors, whose shapes become variables at the second shape that is seen, so that the number of
graphs stays small however documents fall. Layers keep their parameters, names and places. Without gradients, where answers are written and
losses and logits measured, they compute as they did: what is measured of a run is what is measured of its adapter, loaded anew.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from codetune.errors import UserError
from codetune.models.checkpointing import PrefixCache

_MARK = "codetune_compiled"
BACKEND = "inductor"
MOST_GRAPHS = 64  # of one kind of layer; with and without gradients, one row or several, a mask or a layout are graphs of their own


class CompiledLayer(torch.nn.Module):
    """A decoder layer whose training passes are compiled; `plain` and `compiled` are its class's forward, as it was and compiled."""

    plain: Callable[..., Any]
    compiled: Callable[..., Any]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return type(self).plain(self, *args, **kwargs)
        number = _number_of(self)
        args = tuple(_own_part(each, number) for each in args)
        kwargs = {name: _own_part(each, number) for name, each in kwargs.items()}
        try:
            return type(self).compiled(self, *args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(f"train.compile: torch.compile cannot take {type(self).__name__.removeprefix('Compiled')} with this method "
                            f"({_first_line(error)}): leave train.compile out") from error  # fmt: skip


def compile_layers(model: Any, graphs: bool, backend: Any = None) -> None:
    """From now on the layers' training passes are compiled; `graphs`: and recorded as CUDA graphs. A second call changes nothing.

    `backend`: another than `BACKEND`, as torch.compile takes it. Raises UserError where the model has no layers to compile.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(f"train.compile: {model.config.model_type} has no layers that are compiled one by one: leave train.compile out")
    for layer in layers:
        if not isinstance(layer, CompiledLayer):
            kind: Any = type(layer)
            layer.__class__ = _with_compiled(kind, graphs, backend or BACKEND)
    if graphs and not _was_called(model):
        _use_graphs(model)
    setattr(model, _MARK, True)


def is_compiled(model: Any) -> bool:
    """Whether a pass through the model's layers, now, is a compiled one: attention is then given what a compiler can look into."""
    return torch.is_grad_enabled() and _was_called(model)


def _was_called(model: Any) -> bool:
    return bool(getattr(model, _MARK, False))


def missing_compiler(where: str) -> str:
    """What of a compiler this machine lacks and how to get it, for the device `where`; "" where nothing is missing."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    if where.startswith("cuda"):
        if importlib.util.find_spec("triton") is None:
            return "train.compile needs Triton on a GPU: pip install triton"
        names = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang", "cc"]
    if not any(shutil.which(name) for name in names):
        return f"train.compile needs a C++ compiler, and {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not here: install g++"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        return "train.compile needs Python's headers (Python.h): install python3-dev"
    return ""


@functools.cache
def _with_compiled(kind: Any, graphs: bool, backend: Any) -> type[Any]:
    """The layer's class with its forward compiled, once for all layers and models of this process."""
    settings: dict[str, Any] = {"recompile_limit": MOST_GRAPHS, "isolate_recompiles": True}  # newer than torch's stubs
    if graphs:
        settings["mode"] = "reduce-overhead"
    compiled = torch.compile(kind.forward, fullgraph=True, backend=backend, **settings)
    parts = {"forward": CompiledLayer.forward, "plain": staticmethod(kind.forward), "compiled": staticmethod(compiled)}
    return type(f"Compiled{kind.__name__}", (CompiledLayer, kind), parts)


def _use_graphs(model: Any) -> None:
    """Tell CUDA graphs where a pass begins, and take gradients out of their memory: the next pass writes there."""
    decoder = getattr(model, model.base_model_prefix)
    begin: Any = torch.compiler.cudagraph_mark_step_begin
    decoder.register_forward_pre_hook(lambda *_: begin())
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(torch.clone)


def _number_of(layer: Any) -> int:
    """Which of the decoder's layers it is, as its attention knows; -1 where no part does."""
    number: int = next((part.layer_idx for part in layer.children() if hasattr(part, "layer_idx")), -1)
    return number


def _own_part(given: Any, number: int) -> Any:
    """A prefix's keys and values of this layer alone: its number would make each layer a graph of its own."""
    return given.layers[number] if isinstance(given, PrefixCache) else given


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:120]
