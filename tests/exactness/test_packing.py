"""DESIGN's exactness rules 1 to 3: packing, soft prompts in packed rows, and accumulation change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from codetune.batches import collate, make_rows
from codetune.config import Packing
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.attention import LAYOUT
from codetune.models.families import Family
from codetune.models.forward import attention_inputs, hidden_states, logits_of, summed_loss
from codetune.probe.subject import LENGTHS, alone
from codetune.probe.subject import loss_alone as reference
from codetune.probe.subject import texts as examples
from tests.exactness.tiny import FAMILIES, KINDS, PAIRS, TOLERANCE, adapted_tiny


def packed(
    adapted: Adapted, family: Family, data: TokenisedExamples, packing: Packing, rows_at_once: int
) -> tuple[float, dict[str, torch.Tensor]]:
    adapted.root.zero_grad()
    rows = make_rows(data, packing, 40, range(len(data)))
    total = 0.0
    for at in range(0, len(rows), rows_at_once):
        loss = summed_loss(adapted, family, collate(data, rows[at : at + rows_at_once], packing))
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in adapted.trained().items()}


def assert_close(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float) -> None:
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        error = (got[name] - gradient).norm() / gradient.norm().clamp_min(1e-30)
        assert error < tolerance, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_packing_changes_neither_loss_nor_gradients(family: str, method: str) -> None:
    adapted, facts = adapted_tiny(family, method)
    data = examples()
    loss, gradients = reference(adapted, data)
    packings: tuple[Packing, ...] = ("exact", "padded")
    for packing in packings:
        got, got_gradients = packed(adapted, facts, data, packing, rows_at_once=2)
        assert got == pytest.approx(loss, rel=TOLERANCE[family])
        assert_close(got_gradients, gradients, 10 * TOLERANCE[family])


@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_accumulation_changes_nothing(family: str, method: str) -> None:
    adapted, facts = adapted_tiny(family, method)
    data = examples()
    loss, gradients = packed(adapted, facts, data, "exact", rows_at_once=99)
    got, got_gradients = packed(adapted, facts, data, "exact", rows_at_once=1)
    assert got == pytest.approx(loss, rel=TOLERANCE[family])
    assert_close(got_gradients, gradients, 10 * TOLERANCE[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_concatenated_rows_do_differ(family: str) -> None:
    """The published way, where documents see each other, is another computation: the exactness tests can fail."""
    adapted, facts = adapted_tiny(family, "lora")
    data = examples()
    loss, _ = reference(adapted, data)
    got, _ = packed(adapted, facts, data, "concatenated", rows_at_once=2)
    assert abs(got / loss - 1) > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_head_is_the_models_own(family: str) -> None:
    adapted, facts = adapted_tiny(family, "full")
    data = examples()
    batch = collate(data, [[(5, 0, LENGTHS[5])]], "padded")
    text = batch.input_ids[0, : LENGTHS[5]]
    ours = logits_of(adapted.model, hidden_states(adapted, facts, batch))[0, : len(text)]
    torch.testing.assert_close(ours, alone(adapted, text), rtol=TOLERANCE[family], atol=TOLERANCE[family])


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
def test_attention_by_document_equals_the_dense_mask(family: str, method: str) -> None:
    """The fast path against the mask, in loss and gradients; GPT-2 and Llama take it, Mistral where no document passes its window."""
    adapted, facts = adapted_tiny(family, method)
    facts = replace(facts, sliding_window=None)
    data = examples()
    batch = collate(data, make_rows(data, "exact", 40, range(len(data))), "exact")
    assert LAYOUT in attention_inputs(adapted, facts, batch)
    loss, gradients = packed(adapted, facts, data, "exact", rows_at_once=9)
    adapted.model.set_attn_implementation("sdpa")
    assert LAYOUT not in attention_inputs(adapted, facts, batch)
    dense, dense_gradients = packed(adapted, facts, data, "exact", rows_at_once=9)
    assert loss == pytest.approx(dense, rel=TOLERANCE[family])
    assert_close(gradients, dense_gradients, 10 * TOLERANCE[family])
