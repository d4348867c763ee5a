"""Frozen weights copied to the device layer by layer: loss and gradients the same to the last bit, and few layers there at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from codetune.batches import full_rows
from codetune.config import TrainConfig
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.families import Family
from codetune.models.forward import summed_loss
from codetune.models.merge import merge_in_place
from codetune.models.offloading import frozen_in, layer_bytes, layers_of, offload_layers, offloaded_bytes, offloading_of
from codetune.train.memory import forecast_memory
from codetune.train.ready import make_ready
from tests.exactness.test_checkpointing import batch, gradients, kept_bytes
from tests.exactness.tiny import FAMILIES, METHODS, adapted_tiny, config_of

LAYERS = 3


def offloaded(adapted: Adapted, buffers: int = 2) -> Any:
    offload_layers(adapted.model, adapted.root, "cpu", buffers)
    return offloading_of(adapted.model)


def assert_the_same(adapted: Adapted, family: Family, buffers: int = 2) -> Any:
    """Two passes, as the second finds other layers in the buffers than the first did."""
    loss, wanted = gradients(adapted, family)
    stream = offloaded(adapted, buffers)
    for _ in range(2):
        again, found = gradients(adapted, family)
        assert torch.equal(loss, again)
        for name, gradient in wanted.items():
            assert torch.equal(found[name], gradient), name
    return stream


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("method", ["lora", "prefix_tuning", "prompt_tuning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_the_same_bit_for_bit(family: str, method: str, twice: bool) -> None:
    adapted, facts = adapted_tiny(family, method)
    if twice:
        checkpoint_layers(adapted.model)
    stream = assert_the_same(adapted, facts)
    # Forward all three, backward the first alone: the others are still there; then forward the last, and so on.
    assert stream.copied == (LAYERS + 1) + (LAYERS - 1)


@pytest.mark.parametrize("method", ["dora", "vera", "ia3", "bottleneck", "ln_tuning", "bitfit", "p_tuning"])
def test_other_methods_too(method: str) -> None:
    assert_the_same(*adapted_tiny("gpt2", method))


@pytest.mark.parametrize(("family", "method"), [("mistral", "lora"), ("gpt2", "prefix_tuning"), ("falcon", "lora")])
@pytest.mark.parametrize("fast", [False, True])
def test_also_in_bf16_with_the_faster_computations_and_the_dense_mask(family: str, method: str, fast: bool) -> None:
    adapted, facts = adapted_tiny(family, method, torch.float32)
    if not fast:
        adapted.model.set_attn_implementation("sdpa")
    make_ready(adapted, TrainConfig(precision="bf16", fast=fast), "cpu")
    with torch.autocast("cpu", torch.bfloat16):
        assert_the_same(adapted, facts)


def test_also_with_as_many_buffers_as_layers() -> None:
    adapted, facts = adapted_tiny("llama", "lora")
    assert assert_the_same(adapted, facts, buffers=5).copied == LAYERS


@pytest.mark.parametrize("twice", [False, True])
def test_no_more_layers_are_held_than_there_are_buffers(twice: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a layer computes with lies in a buffer, at any time; autograd keeps no weight; the buffers are as large as two layers."""
    adapted, facts = adapted_tiny("llama", "lora")
    plain = kept_bytes(adapted, facts)
    stream = offloaded(adapted)
    assert kept_bytes(adapted, facts) == plain, "what is kept for the backward pass has no weights that were not there before"
    if twice:
        checkpoint_layers(adapted.model)
    layers = frozen_in(layers_of(adapted.model))
    seen: list[tuple[int, bool]] = []
    linear = torch.nn.functional.linear

    def watched(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        on_device = [number for number, own in enumerate(layers) for p in own if p.untyped_storage().data_ptr() in stream.storages]
        seen.append((len(set(on_device)), weight.requires_grad or weight.untyped_storage().data_ptr() in stream.storages))
        return linear(inputs, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    summed_loss(adapted, facts, batch()).backward()  # type: ignore[no-untyped-call]
    in_layers = [inside for count, inside in seen if count]
    assert max(count for count, _ in seen) == 1
    assert len(in_layers) >= LAYERS * 7
    assert all(in_layers)
    assert stream.buffer_bytes == 2 * max(map(layer_bytes, layers))
    assert not any(p.untyped_storage().data_ptr() in stream.storages for own in layers for p in own), "afterwards none lies there"


def test_a_pass_that_is_thrown_away_leaves_nothing() -> None:
    """No tensor keeps itself: each pass without a backward pass is freed at once."""
    adapted, facts = adapted_tiny("gpt2", "lora")
    offloaded(adapted)
    summed_loss(adapted, facts, batch())
    kept: list[int] = []
    for _ in range(3):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            summed_loss(adapted, facts, batch())
        kept.append(sum(event.self_cpu_memory_usage for event in profile.key_averages()))
    assert max(kept) < 4096


def test_changed_weights_are_what_is_computed_with() -> None:
    """Merged in place, replaced by others, and in another type."""
    adapted, facts = adapted_tiny("llama", "lora")
    with torch.no_grad():
        wanted = summed_loss(adapted, facts, batch())
        offloaded(adapted)
        summed_loss(adapted, facts, batch())
        merge_in_place(adapted)
        assert summed_loss(adapted, facts, batch()) == pytest.approx(float(wanted), rel=1e-6)
        for parameter in adapted.root.parameters():
            parameter.data = torch.zeros_like(parameter)
        assert summed_loss(adapted, facts, batch()) != pytest.approx(float(wanted), rel=1e-2)
        adapted.root.float()
        assert summed_loss(adapted, facts, batch()).dtype == torch.float32


def test_full_fine_tuning_and_shards_are_refused() -> None:
    for method, parallel, why in (("full", "ddp", "method full trains all weights"), ("lora", "fsdp", "use train.parallel=ddp")):
        adapted, _ = adapted_tiny("gpt2", method)
        with pytest.raises(UserError, match=why):
            make_ready(adapted, TrainConfig(offload_frozen_weights=True, parallel=parallel), "cpu")


@pytest.mark.parametrize("method", ["lora", "prefix_tuning"])
def test_forecast_is_less_by_what_lies_in_main_memory(method: str) -> None:
    config, train = config_of("llama"), TrainConfig(batch_tokens=40)
    whole, less = (
        forecast_memory(config, METHODS[method], train.model_copy(update={"offload_frozen_weights": chosen}), [full_rows(1, 40)], gpu=True)
        for chosen in (False, True)
    )
    own, buffers = offloaded_bytes(adapted_tiny("llama", method, torch.float32)[0].model, 2)
    assert whole.training - less.training == own - buffers > 0
    assert whole.reloading - less.reloading == own - buffers
