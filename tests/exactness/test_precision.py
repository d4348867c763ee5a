"""Precision policies: what is halved once is what autocast makes anew each time, and each policy is the same for all methods."""

from __future__ import annotations

import peft
import pytest
import torch
from transformers.pytorch_utils import Conv1D

from codetune.config import TrainConfig, TrainPrecision
from codetune.methods import Adapted
from codetune.models.families import Family, linear_layers
from codetune.models.forward import summed_loss
from codetune.train.precision import autocast, halve_frozen_linears, narrow
from tests.exactness.test_checkpointing import batch
from tests.exactness.tiny import PAIRS, adapted_tiny, tiny

ADAPTABLE = [method for family, method in PAIRS if family == "llama"]


def gradients(adapted: Adapted, family: Family, precision: TrainPrecision = "bf16") -> dict[str, torch.Tensor]:
    adapted.root.zero_grad()
    with autocast(TrainConfig(precision=precision), torch.device("cpu")):
        loss = summed_loss(adapted, family, batch())
    loss.backward()
    assert loss.dtype == torch.float32
    return {"loss": loss.detach()} | {name: parameter.grad.clone() for name, parameter in adapted.trained().items()}


@pytest.mark.parametrize(("family", "method"), [(family, method) for family, method in PAIRS if method != "full"])
def test_frozen_matrices_in_bf16_change_nothing(family: str, method: str) -> None:
    adapted, facts = adapted_tiny(family, method, torch.float32)
    wanted = gradients(adapted, facts)
    halve_frozen_linears(adapted)
    halved = [module for module in adapted.model.modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    halved = [module for module in halved if module.weight.dtype == torch.bfloat16]
    assert len(halved) >= (0 if method == "dora" else 4 * facts.num_layers)
    for name, found in gradients(adapted, facts).items():
        assert torch.equal(found, wanted[name]), name


def test_biases_that_train_stay_in_fp32() -> None:
    adapted, facts = adapted_tiny("gpt2", "lora", torch.float32)
    layer = adapted.model.transformer.h[0].mlp.c_fc.base_layer
    layer.bias.requires_grad_(True)
    wanted = gradients(adapted, facts)
    halve_frozen_linears(adapted)
    assert (layer.weight.dtype, layer.bias.dtype) == (torch.bfloat16, torch.float32)
    for name, found in gradients(adapted, facts).items():
        assert torch.equal(found, wanted[name]), name


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_dora_measures_stays_in_fp32(family: str) -> None:
    """Its scale is the length of the frozen weights: of rounded ones it would be another."""
    model, facts = tiny(family, torch.float32)
    fan = family == "gpt2"
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=3, use_dora=True, target_modules=linear_layers(model)[:2], fan_in_fan_out=fan)
    wrapped = peft.get_peft_model(model, config)
    adapted = Adapted(model, "dora", wrapped)
    wanted = gradients(adapted, facts)
    halve_frozen_linears(adapted)
    bases = [layer.base_layer.weight for layer in model.modules() if len(getattr(layer, "lora_magnitude_vector", ()))]
    assert {weight.dtype for weight in bases} == {torch.float32}
    assert any(parameter.dtype == torch.bfloat16 for parameter in model.parameters()), "the others are halved"
    for name, found in gradients(adapted, facts).items():
        assert torch.equal(found, wanted[name]), name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16_weights"])
@pytest.mark.parametrize("method", ADAPTABLE)
def test_a_policy_is_the_same_for_all_methods(method: str, precision: TrainPrecision) -> None:
    """What trains, and its gradients: in fp32, or in bf16 where the policy says so, adapters and soft prompts not excepted."""
    adapted, facts = adapted_tiny("llama", method, torch.float32)
    narrow(adapted, precision)
    found = gradients(adapted, facts, precision)
    wanted = torch.bfloat16 if precision == "bf16_weights" else torch.float32
    assert {parameter.dtype for parameter in adapted.trained().values()} == {wanted}
    assert {gradient.dtype for name, gradient in found.items() if name != "loss"} == {wanted}
    if precision == "bf16_weights":
        assert {parameter.dtype for parameter in adapted.root.parameters()} == {torch.bfloat16}
    inverse = adapted.model.model.rotary_emb.inv_freq
    assert inverse.dtype == torch.float32, "positions are never rounded"


@pytest.mark.parametrize("method", ADAPTABLE)
def test_bf16_weights_compute_near_fp32(method: str) -> None:
    adapted, facts = adapted_tiny("llama", method, torch.float32)
    wanted = gradients(adapted, facts, "fp32")["loss"]
    narrow(adapted, "bf16_weights")
    assert float(gradients(adapted, facts, "bf16_weights")["loss"]) == pytest.approx(float(wanted), rel=0.02)
