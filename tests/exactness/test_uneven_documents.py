"""A long document among many short ones: attention takes the dense mask there, computes the same, and holds what that holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from codetune.batches import Batch, collate
from codetune.data.tokenise import TokenisedExamples, join
from codetune.models import forward
from codetune.models.attention import LAYOUT, uneven
from codetune.models.forward import attention_inputs, summed_loss
from tests.exactness.tiny import KINDS, TOLERANCE, VOCAB, adapted_tiny

LONG, SHORT, SHORTS = 40, 4, 10  # 11 documents 64 wide are 45,056 pairs of query and key; the dense mask's are 96 x 96
PROVED = ("gpt2", "llama")


def examples() -> TokenisedExamples:
    draw = torch.Generator().manual_seed(3)
    ids = [torch.randint(2, VOCAB, (length,), generator=draw).tolist() for length in (LONG, *[SHORT] * SHORTS)]
    return join(ids, [1] * len(ids))


def packed() -> Batch:
    made = examples()
    return collate(made, [[(i, 0, len(made.example(i))) for i in range(len(made))]], "exact")


def gradients(family: str, method: str, batches: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    adapted, facts = adapted_tiny(family, method)
    losses = [summed_loss(adapted, facts, batch) for batch in batches]
    torch.stack(losses).sum().backward()
    return sum(loss.item() for loss in losses), {name: one.grad for name, one in adapted.trained().items() if one.grad is not None}


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("family", PROVED)
def test_a_row_of_uneven_documents_is_its_documents_alone(family: str, method: str) -> None:
    made = examples()
    alone = [collate(made, [[(i, 0, len(made.example(i)))]], "exact") for i in range(len(made))]
    assert uneven(packed(), 3)
    assert not any(uneven(batch, 3) for batch in alone)
    loss, found = gradients(family, method, [packed()])
    expected_loss, expected = gradients(family, method, alone)
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[family])
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = max(1.0, gradient.abs().max().item())
        assert (found[name] - gradient).abs().max().item() <= 10 * TOLERANCE[family] * scale, name


def test_a_mask_that_lets_documents_meet_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right, _ = gradients("gpt2", "lora", [packed()])
    one = packed()
    real = forward.attention_mask
    monkeypatch.setattr(forward, "attention_mask", lambda batch, *_: real(replace(batch, documents=one.documents.clamp(max=1)), *_))
    wrong, _ = gradients("gpt2", "lora", [packed()])
    assert abs(wrong - right) > 1e-3 * abs(right)


def test_alike_documents_are_taken_one_at_a_time() -> None:
    made = join([[2] * 20, [3] * 18, [4] * 22], [1] * 3)
    batch = collate(made, [[(i, 0, len(made.example(i))) for i in range(3)]], "exact")
    adapted, facts = adapted_tiny("gpt2", "lora")
    assert LAYOUT in attention_inputs(adapted, facts, batch)
    assert LAYOUT not in attention_inputs(adapted, facts, packed())
