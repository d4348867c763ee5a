"""Activation checkpointing changes neither loss nor gradients, dropout included, and keeps less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from codetune.batches import Batch, collate, make_rows
from codetune.config import LoraConfig
from codetune.data.tokenise import join
from codetune.errors import UserError
from codetune.methods import Adapted, attach
from codetune.models import forward
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.families import Family, targets_of
from codetune.models.forward import prefix_cache, summed_loss
from tests.exactness.tiny import KINDS, PAIRS, VOCAB, adapted_tiny, tiny

LENGTHS = (4, 19, 9, 12, 2, 25, 7, 31)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks of the loss, though the batch is tiny."""
    monkeypatch.setattr(forward, "LOSS_CHUNK_TOKENS", 32)


def batch() -> Batch:
    rng = np.random.default_rng(3)
    data = join([rng.integers(3, VOCAB, length).tolist() for length in LENGTHS], [min(3, length - 1) for length in LENGTHS])
    return collate(data, make_rows(data, "exact", 40, range(len(data))), "exact")


def gradients(adapted: Adapted, family: Family) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    adapted.root.zero_grad()
    torch.manual_seed(5)
    loss = summed_loss(adapted, family, batch())
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in adapted.trained().items()}


def assert_the_same(adapted: Adapted, family: Family) -> None:
    loss, wanted = gradients(adapted, family)
    checkpoint_layers(adapted.model)
    again, found = gradients(adapted, family)
    assert torch.equal(loss, again)
    for name, gradient in wanted.items():
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_loss_and_gradients_are_the_same_bit_for_bit(family: str, method: str) -> None:
    assert_the_same(*adapted_tiny(family, method))


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_also_with_the_dense_mask_and_in_bf16(family: str, method: str) -> None:
    adapted, facts = adapted_tiny(family, method, torch.float32)
    adapted.model.set_attn_implementation("sdpa")
    with torch.autocast("cpu", torch.bfloat16):
        assert_the_same(adapted, facts)


def test_dropout_is_drawn_the_same_both_times() -> None:
    model, facts = tiny("llama")
    dropout = LoraConfig(lora_rank=3, lora_dropout=0.3)
    adapted = attach(model, dropout, targets_of(model), [], 0)
    adapted.root.train()
    with torch.no_grad():
        for parameter in adapted.trained().values():
            parameter.add_(0.3)
    assert_the_same(adapted, facts)


def test_a_prefix_is_the_same_however_often_it_is_asked() -> None:
    adapted, facts = adapted_tiny("mistral", "prefix_tuning")
    cache: Any = prefix_cache(adapted, facts, 2)
    text = torch.randn(2, facts.kv_heads, 3, facts.head_dim, dtype=torch.float64)
    first, again = cache.update(text, text, 1), cache.update(text, text, 1)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert first[0].shape[2] == adapted.num_virtual_tokens + 3
    assert cache.get_seq_length() == adapted.num_virtual_tokens


def kept_bytes(adapted: Adapted, family: Family) -> int:
    """What the allocator holds more after a forward pass than before: what was kept for the backward pass."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        loss = summed_loss(adapted, family, batch())
    kept = sum(event.self_device_memory_usage + event.self_cpu_memory_usage for event in profile.key_averages())
    assert loss.requires_grad
    return kept


@pytest.mark.parametrize("method", KINDS)
def test_layers_keep_their_input_alone(method: str) -> None:
    """Of three layers that keep a dozen tensors each; the chunks of the loss keep no logits."""
    adapted, facts = adapted_tiny("llama", method)
    plain = kept_bytes(adapted, facts)
    checkpoint_layers(adapted.model)
    saved = kept_bytes(adapted, facts)
    assert saved < 0.35 * plain
    assert saved > 0


def test_what_answers_is_not_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    adapted, facts = adapted_tiny("llama", "lora")
    checkpoint_layers(adapted.model)
    monkeypatch.setattr("codetune.models.checkpointing.checkpoint", lambda *_, **__: pytest.fail("no gradient is wanted"))
    with torch.no_grad():
        summed_loss(adapted, facts, batch())


def test_a_model_without_such_layers_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model.config = tiny("gpt2")[0].config
    with pytest.raises(UserError, match="activation_checkpointing: gpt2 has no layers"):
        checkpoint_layers(model)
