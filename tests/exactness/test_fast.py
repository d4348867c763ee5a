"""`train.fast` changes no number: losses and gradients of the faster computations against the plain ones."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from codetune.batches import JOINED_STEP, Batch, collate, make_rows, rounded_up
from codetune.config import TrainConfig
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.fast import attention, loss, products
from codetune.models.fast.linear import FastLoraLinear, LoraProduct
from codetune.models.fast.loss import CutCrossEntropy
from codetune.models.fast.model import _FASTER, is_fast, speed_up
from codetune.models.fast.norms import Gelu
from codetune.models.forward import as_run, summed_loss
from codetune.probe.subject import texts as examples
from codetune.train.ready import make_ready
from tests.exactness.tiny import PAIRS, TOLERANCE, adapted_tiny

LORA = ("lora", "lora_plus", "rslora", "pissa")


def rows_of(data: TokenisedExamples) -> Batch:
    """Several documents a row, rows of several lengths: padding in rows and behind documents."""
    return collate(data, make_rows(data, "exact", 40, range(len(data))), "exact")


def gradients(adapted: Adapted, family: Family, batch: Batch, bf16: bool = False) -> tuple[float, dict[str, torch.Tensor]]:
    adapted.root.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = summed_loss(adapted, family, as_run(adapted, family, batch))
    found.backward()
    return float(found.detach()), {name: p.grad.clone() for name, p in adapted.trained().items()}


def in_float32(family: str, method: str) -> tuple[Adapted, Family]:
    """The tiny model of float64, rounded: in float32 other random numbers would be drawn."""
    adapted, facts = adapted_tiny(family, method)
    adapted.root.float()
    return adapted, facts


def furthest(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """The largest relative error of any tensor, in terms of the largest gradient where its own is next to nothing."""
    assert got.keys() == wanted.keys()
    largest = max(float(each.norm()) for each in wanted.values())
    return max(float((got[name] - each).norm()) / max(float(each.norm()), 1e-6 * largest) for name, each in wanted.items())


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that tiny models, too, are computed in several pieces."""
    monkeypatch.setattr(attention, "BLOCK", 4)
    monkeypatch.setattr(attention, "KEPT", 16)
    for name, value in (("TOKENS", 8), ("LEARNING_TOKENS", 16), ("WIDE_LOGITS", 3 * 61)):
        monkeypatch.setattr(loss, name, value)


@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize(("family", "method"), PAIRS)
def test_loss_and_gradients_are_the_same(family: str, method: str, windowed: bool) -> None:
    if not windowed and family != "mistral":
        pytest.skip("only Mistral has a window to leave out")
    adapted, facts = adapted_tiny(family, method)
    facts = facts if windowed else replace(facts, sliding_window=None)  # then its grouped keys meet the attention by documents
    batch = rows_of(examples())
    plain, plain_gradients = gradients(adapted, facts, batch)
    speed_up(adapted.model, "cpu")
    fast, fast_gradients = gradients(adapted, facts, batch)
    assert fast == pytest.approx(plain, rel=TOLERANCE[family])
    assert furthest(fast_gradients, plain_gradients) < 30 * TOLERANCE[family]


@pytest.mark.parametrize("method", ["full", "prompt_tuning"])
def test_rows_are_run_end_to_end_without_padding(method: str) -> None:
    adapted, facts = adapted_tiny("llama", method)
    batch = rows_of(examples())
    assert as_run(adapted, facts, batch) is batch, "only where the faster computation is in place"
    speed_up(adapted.model, "cpu")
    run, text = as_run(adapted, facts, batch), int((batch.documents > 0).sum())
    assert batch.documents.numel() > text, "there is padding"
    assert run.input_ids.shape == (1, rounded_up(text, JOINED_STEP))
    assert run.num_targets == batch.num_targets

    def documents(of: Batch) -> list[tuple[list[int], list[int], list[bool]]]:
        found = []
        for places in of.places:
            at = places[: int((places != 0).sum()) + int(places[0] == 0)]
            found.append(tuple(getattr(of, name).flatten()[at].tolist() for name in ("input_ids", "positions", "targets")))
        return found

    assert documents(run) == documents(batch)
    predicted = [(each.input_ids.flatten()[each.predicted][each.labels >= 0], each.labels[each.labels >= 0]) for each in (batch, run)]
    assert all(torch.equal(ids, labels) for ids, labels in predicted)
    assert torch.equal(predicted[0][1], predicted[1][1])
    for each in (batch, run):
        inverse = each.places.flatten()[each.back][each.documents.flatten() > 0]
        assert torch.equal(inverse, (each.documents.flatten() > 0).nonzero().squeeze(1))


@pytest.mark.parametrize("method", ["full", "lora", "prefix_tuning"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_rows_of_one_document_each(family: str, method: str) -> None:
    adapted, facts = adapted_tiny(family, method)
    data = examples()
    longest = sorted(range(len(data)), key=lambda i: int(data.lengths[i]))[-2:]
    batch = collate(data, [[(i, 0, int(data.lengths[i]))] for i in longest], "exact")
    plain, plain_gradients = gradients(adapted, facts, batch)
    speed_up(adapted.model, "cpu")
    fast, fast_gradients = gradients(adapted, facts, batch)
    assert fast == pytest.approx(plain, rel=TOLERANCE[family])
    assert furthest(fast_gradients, plain_gradients) < 30 * TOLERANCE[family]


@pytest.mark.parametrize("method", ["full", "lora", "prefix_tuning", "prompt_tuning"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
def test_in_bf16_it_is_no_further_from_the_truth(family: str, method: str) -> None:
    truth = gradients(*adapted_tiny(family, method), rows_of(examples()))
    errors = {}
    for fast in (False, True):
        adapted, facts = in_float32(family, method)
        make_ready(adapted, TrainConfig(precision="bf16", fast=fast), "cpu")
        value, found = gradients(adapted, facts, rows_of(examples()), bf16=True)
        apart = sum(float((found[name] - each).square().sum()) for name, each in truth[1].items())
        errors[fast] = (apart / sum(float(each.square().sum()) for each in truth[1].values())) ** 0.5, abs(value - truth[0]) / truth[0]
    assert errors[False][0] < 0.3, "a sharper model than bf16 can follow shows nothing"
    assert errors[True][0] < 1.5 * errors[False][0]
    assert errors[True][1] < max(1.5 * errors[False][1], 5e-3)


def test_float32_by_the_other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of PyTorch has no oneDNN")
    for family, method in (("gpt2", "full"), ("gpt2", "lora"), ("llama", "full"), ("llama", "lora")):
        truth = gradients(*adapted_tiny(family, method), rows_of(examples()))
        for used in (True, False):
            monkeypatch.setattr(products, "_mkl_falls_back", lambda used=used: used)
            adapted, facts = in_float32(family, method)
            speed_up(adapted.model, "cpu")
            _, found = gradients(adapted, facts, rows_of(examples()))
            assert furthest({name: each.double() for name, each in found.items()}, truth[1]) < 2e-5


def test_what_can_be_faster_is_and_a_second_time_changes_nothing() -> None:
    adapted, _ = adapted_tiny("llama", "lora")
    assert not is_fast(adapted.model)
    make_ready(adapted, TrainConfig(fast=False), "cpu")
    assert not is_fast(adapted.model)
    assert any(type(module) in _FASTER for module in adapted.model.modules())
    make_ready(adapted, TrainConfig(), "cpu")
    classes = [type(module) for module in adapted.model.modules()]
    assert not set(classes) & _FASTER.keys()
    assert all(isinstance(module, torch.nn.Linear) for name, module in adapted.model.named_modules() if name.endswith("base_layer"))
    speed_up(adapted.model, "cpu")
    assert [type(module) for module in adapted.model.modules()] == classes


@pytest.mark.parametrize("state", ["used", "disabled", "merged", "two", "dropout", "copied"])
def test_a_lora_layer_in_all_its_states(state: str) -> None:
    outputs = []
    for fast in (False, True):
        adapted, _ = adapted_tiny("gpt2", "lora")
        if fast:
            speed_up(adapted.model, "cpu")
        outputs.append(_in_state(adapted, state))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)


def _in_state(adapted: Adapted, state: str) -> torch.Tensor:
    ids, peft = torch.arange(10)[None], adapted.peft
    if state == "merged":
        peft.merge_adapter()
    elif state == "two":
        torch.manual_seed(3)
        peft.add_adapter("second", peft.peft_config["default"])
        peft.double()
        peft.base_model.set_adapter(["default", "second"])
    elif state == "dropout":
        for module in adapted.model.modules():
            if hasattr(module, "lora_dropout"):
                module.lora_dropout["default"] = torch.nn.Dropout(0.5)
        torch.manual_seed(4)
    model: Any = copy.deepcopy(adapted.model) if state == "copied" else adapted.model
    if state == "disabled":
        with peft.disable_adapter():
            return model(ids).logits
    return model(ids).logits


def test_plain_lora_alone_is_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(LoraProduct, "apply", lambda *given: used.append(given) or given[0] @ given[1])
    adapted, _ = adapted_tiny("gpt2", "lora")
    speed_up(adapted.model, "cpu")
    adapted.model(torch.arange(5)[None])
    assert len(used) == sum(isinstance(module, FastLoraLinear) for module in adapted.model.modules()) > 0


@pytest.mark.parametrize("learns", [(True, True), (True, False), (False, True), (False, False)])
def test_cross_entropy_without_logits(learns: tuple[bool, bool]) -> None:
    torch.manual_seed(0)
    states, head = torch.randn(53, 16, dtype=torch.float64), torch.randn(61, 16, dtype=torch.float64)
    labels = torch.randint(0, 61, (53,))
    labels[[0, 7, 52]] = -100
    found = []
    for compute in (_plain_cross_entropy, CutCrossEntropy.apply):
        given = states.clone().requires_grad_(learns[0]), head.clone().requires_grad_(learns[1])
        total = compute(*given, labels)
        if any(learns):
            (3 * total).backward()
        found.append((total.detach(), *(each.grad for each in given if each.requires_grad)))
    for got, wanted in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def _plain_cross_entropy(states: torch.Tensor, head: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(states @ head.t(), labels, reduction="sum", ignore_index=-100)


def test_cross_entropy_of_scores_that_would_overflow() -> None:
    states = torch.tensor([[1e4], [-1e4]])
    head = torch.tensor([[1.0], [0.5], [-1.0]])
    labels = torch.tensor([2, 2])
    assert float(CutCrossEntropy.apply(states, head, labels)) == pytest.approx(2e4)


def test_gelu_is_gpt2s_own() -> None:
    x = torch.linspace(-30, 30, 4001, dtype=torch.float64, requires_grad=True)
    wanted = torch.nn.functional.gelu(x, approximate="tanh")
    (slope,) = torch.autograd.grad(wanted.sum(), x)
    got = Gelu.apply(x)
    (got_slope,) = torch.autograd.grad(got.sum(), x)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(got_slope, slope, rtol=1e-12, atol=1e-12)


def test_a_head_that_changed_is_rounded_anew() -> None:
    head = torch.nn.Parameter(torch.ones(4, 4), requires_grad=False)
    states, labels = torch.eye(4), torch.arange(4)

    def found() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            return float(CutCrossEntropy.apply(states, head, labels))

    before = found()
    assert found() == before
    with torch.no_grad():
        head.add_(torch.eye(4))
    assert found() < before
