"""Liger's kernels in a model's layers and its loss against the plain computation; on a CPU in Triton's interpreter, at tiny shapes:

    TRITON_INTERPRET=1 python -m pytest tests/exactness/test_fast_gpu_kernels.py

They compute in fp32 at most, so they are held to that rounding.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from codetune.batches import Batch, collate
from codetune.methods import attach
from codetune.models.families import family_of, targets_of
from codetune.models.fast import gpu_liger, gpu_loss
from codetune.models.fast.gpu_liger import Kernels, use_kernels
from codetune.models.fast.loss import own_head
from codetune.models.fast.model import speed_up
from codetune.models.forward import summed_loss
from codetune.probe.forms import build
from codetune.probe.subject import METHODS, texts

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
needs_liger = pytest.mark.skipif(
    not gpu_liger.installed() or (DEVICE.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1"),
    reason="needs pip install codetune[kernels] and a GPU, or TRITON_INTERPRET=1, which must be set before Triton is imported",
)
Result = tuple[float, dict[str, torch.Tensor]]


class _Number(float):
    """Liger's kernels ask numbers for `.to`, which Triton's compiler gives them and its interpreter does not."""

    def to(self, _: object) -> _Number:
        return self


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    """Liger's kernels for this machine; interpreted where there is no GPU."""
    changed = pytest.MonkeyPatch()
    if DEVICE.type == "cpu":
        interpreter: Any = importlib.import_module("triton.runtime.interpreter")
        plain = interpreter._implicit_cvt
        changed.setattr(interpreter, "_implicit_cvt", lambda one: _Number(one) if type(one) is float else plain(one))
        # A function of CUDA's library, which the interpreter answers with None.
        language: Any = importlib.import_module("triton.language")
        changed.setattr(importlib.import_module("liger_kernel.ops.rms_norm"), "rsqrt", lambda one: language.rsqrt(one))
    yield gpu_liger.liger(DEVICE)
    changed.undo()


def _batch() -> Batch:
    data = texts()
    return collate(data, [[(0, 0, 4), (2, 0, 9)], [(3, 0, 12)]], "exact").to(DEVICE)


def _result(form: str, method: str, prepare: Callable[[Any], object], dtype: torch.dtype = torch.float32) -> Result:
    model = build(form, dtype).to(DEVICE)
    adapted = attach(model, METHODS[method], targets_of(model), [7, 8, 9], 0)
    adapted.root.to(dtype).train()
    prepare(adapted.model)
    loss = summed_loss(adapted, family_of(model.config), _batch())
    loss.backward()
    return float(loss.detach()), {name: p.grad.clone() for name, p in adapted.trained().items()}


def _held(got: Result, wanted: Result, bound: float) -> None:
    assert got[0] == pytest.approx(wanted[0], rel=bound)
    for name, gradient in wanted[1].items():
        assert (got[1][name] - gradient).norm() <= 10 * bound * gradient.norm().clamp_min(1e-12), name


def _nothing(_: Any) -> None: ...


def _silu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.silu(gate) * up


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


def _rotary(query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
    return gpu_liger._turned(query, cos, sin), gpu_liger._turned(key, cos, sin)


@pytest.mark.parametrize("form", ["llama-grouped", "mistral", "qwen2", "qwen3"])
def test_layers_give_kernels_what_they_need_and_take_what_they_give(form: str) -> None:
    """Plain functions in the kernels' places: the same numbers, and each place is one that is used."""
    called: set[str] = set()

    def noted(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: (called.add(name), compute(*given))[1]

    plain = Kernels(noted("norm", _norm), noted("swiglu", _silu), noted("rotary", _rotary))
    got = _result(form, "full", lambda model: use_kernels(model, plain))
    assert called == {"norm", "swiglu", "rotary"}
    _held(got, _result(form, "full", _nothing), 2e-6)
    called.clear()
    got = _result(form, "lora", lambda model: use_kernels(model, plain), torch.float64)
    assert not called  # what is wider than fp32 keeps its own layers
    _held(got, _result(form, "lora", _nothing, torch.float64), 1e-12)


def test_a_wrong_kernel_shows() -> None:
    wrong = Kernels(_norm, lambda gate, up: torch.nn.functional.gelu(gate) * up, _rotary)
    got, wanted = _result("llama", "full", lambda model: use_kernels(model, wrong)), _result("llama", "full", _nothing)
    assert got[0] != pytest.approx(wanted[0], rel=1e-4)


@needs_liger
def test_ligers_kernels_pass_their_proof(kernels: Kernels) -> None:
    assert None not in (kernels.norm, kernels.swiglu, kernels.rotary)
    assert gpu_loss._holds(DEVICE, False)
    assert gpu_loss._holds(DEVICE, True)


@needs_liger
@pytest.mark.slow
@pytest.mark.parametrize(("form", "method"), [("llama-grouped", "full"), ("mistral", "lora"), ("qwen2", "lora"), ("qwen3", "full")])
def test_ligers_layers_and_loss_are_the_models_own(kernels: Kernels, form: str, method: str) -> None:
    def prepare(model: Any) -> None:
        use_kernels(model, kernels)
        gpu_loss.use_fused_loss(model)
        assert own_head(model) is not None

    _held(_result(form, method, prepare), _result(form, method, _nothing), 5e-6)


@needs_liger
def test_ligers_loss_is_gpt2s_own_also_without_gradients(kernels: Kernels) -> None:
    _held(_result("gpt2", "full", gpu_loss.use_fused_loss), _result("gpt2", "full", _nothing), 5e-6)
    model = build("gpt2", torch.float32).to(DEVICE)
    gpu_loss.use_fused_loss(model)
    hidden, labels = torch.randn(9, 16, device=DEVICE), torch.arange(9, device=DEVICE)
    with torch.no_grad():
        got = gpu_loss.fused_loss(model, hidden, labels)
        assert got is not None
        wanted = torch.nn.functional.cross_entropy(model.lm_head(hidden), labels, reduction="sum")
    assert float(got) == pytest.approx(float(wanted), rel=1e-5)


def test_heads_that_do_more_than_multiply_are_not_covered() -> None:
    assert own_head(build("gpt2")) is not None
    assert own_head(build("granite")) is None  # its logits are scaled
    model = build("llama")
    model.config.final_logit_softcapping = 30.0
    assert own_head(model) is None
    model = build("llama")
    model.lm_head = torch.nn.Sequential(model.lm_head)  # whatever a method puts in its place
    assert own_head(model) is None


def test_without_the_package_the_layers_stay_as_they_are() -> None:
    if gpu_liger.installed():
        pytest.skip("liger-kernel is installed here")
    model = build("llama", torch.float32)
    speed_up(model, "cuda")
    assert not any(isinstance(module, gpu_liger._WithKernel) for module in model.modules())
    assert gpu_loss.fused_loss(model, torch.ones(2, 16), torch.ones(2, dtype=torch.long)) is None
    assert "liger_kernel" not in sys.modules
