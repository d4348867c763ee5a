"""DESIGN's exactness rules for encoder-decoder models: T5 (CodeT5's config class, gated too) and PLBART, against stock transformers."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers

from codetune.batches import batch_of, collate, make_rows
from codetune.config import DecodingConfig
from codetune.data.tokenise import TokenisedExamples
from codetune.generate.continuous import ContinuousEngine
from codetune.generate.engine import OwnEngine
from codetune.generate.live import Ask, write
from codetune.generate.request import Generated, Request
from codetune.methods import Adapted, load_adapter
from codetune.models.checkpointing import checkpoint_layers
from codetune.models.families import Family, Marks
from codetune.models.forward import summed_loss
from codetune.models.load import LoadedModel
from codetune.models.seq2seq import pairs_of
from codetune.models.several import Tree, Voice
from codetune.train.checks import difference, probe_batch, probe_logits
from tests.exactness.pairs import BEGIN, END, MODELS, PAIR_METHODS, POSITIONS, RELATIVES, TOLERANCE, adapted_tiny, pairs, split, tiny
from tests.exactness.test_generation import LetterTokenizer

ALL = PAIR_METHODS | RELATIVES


def assert_close(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float) -> None:
    """By norm. Where a gradient is 0 but for rounding, as that of a bias of keys is, relative to the largest."""
    assert got.keys() == wanted.keys()
    largest = max(gradient.norm() for gradient in wanted.values())
    for name, gradient in wanted.items():
        error = (got[name] - gradient).norm() / gradient.norm().clamp_min(1e-3 * largest)
        assert error < tolerance, f"{name}: relative error {error:.2e}"


def stock_loss(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Summed over the answer, by transformers' own `labels`: it shifts them itself, from the start that its config names."""
    labels = torch.tensor([answer])
    out = model(input_ids=torch.tensor([[*prompt, END]]), labels=labels, use_cache=False)
    return torch.nn.functional.cross_entropy(out.logits[0].double(), labels[0], reduction="sum")


def reference(adapted: Adapted, data: TokenisedExamples) -> tuple[float, dict[str, torch.Tensor]]:
    adapted.root.zero_grad()
    total = 0.0
    for index in range(len(data)):
        loss = stock_loss(adapted.model, *split(data, index))
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in adapted.trained().items()}


def batched(adapted: Adapted, family: Family, data: TokenisedExamples, rows_at_once: int) -> tuple[float, dict[str, torch.Tensor]]:
    adapted.root.zero_grad()
    rows = make_rows(data, "padded", 64, range(len(data)))
    total = 0.0
    for at in range(0, len(rows), rows_at_once):
        loss = summed_loss(adapted, family, collate(data, rows[at : at + rows_at_once], "padded"))
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad.clone() for name, p in adapted.trained().items()}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("name", MODELS)
def test_a_padded_batch_is_the_sum_of_stock_transformers_alone(name: str, method: str) -> None:
    adapted, family = adapted_tiny(name, ALL[method])
    data = pairs()
    loss, gradients = reference(adapted, data)
    for rows_at_once in (1, 3, 99):
        got, got_gradients = batched(adapted, family, data, rows_at_once)
        assert got == pytest.approx(loss, rel=TOLERANCE[name])
        assert_close(got_gradients, gradients, 10 * TOLERANCE[name])


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_would_see_padding(name: str) -> None:
    """The same rows without the encoder's mask, and on the wrong side, are another computation: these tests can fail."""
    adapted, _ = adapted_tiny(name, "full")
    prompt, answer = split(pairs(), 0)
    with torch.no_grad():
        alone = float(stock_loss(adapted.model, prompt, answer))
        padded = float(stock_loss(adapted.model, [0, 0, *prompt], answer))
    assert abs(padded / alone - 1) > 1e-3


def test_an_example_is_cut_where_its_answer_begins() -> None:
    """By hand: a prompt of 2 tokens beside one of 1, with CodeT5's marks round both."""
    ids = np.array([[1, 7, 8, 9, 2], [1, 5, 2, 0, 0]])
    documents, targets = (ids > 0).astype(np.int64), np.array([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=bool)
    batch = batch_of(ids, documents, np.zeros_like(ids), targets)
    _, family = tiny("plbart", marks=Marks((2,), (0, 1)))
    found = pairs_of(batch, family)
    assert found.prompt_ids[:, :4].tolist()[0] == [1, 7, 8, 2]
    assert found.prompt_ids[1, :3].tolist() == [1, 5, 2]
    assert found.prompt_mask.sum(1).tolist() == [4, 3]
    assert found.answer_ids[0, :3].tolist() == [0, 1, 9]
    assert found.answer_ids[1, :2].tolist() == [0, 1]
    assert found.labels[0, :4].tolist() == [-100, 9, 2, -100]
    assert found.labels[1, :3].tolist() == [-100, 2, -100]
    assert found.prompt_ids.shape[1] == 32


@pytest.mark.parametrize("name", MODELS)
def test_marks_of_more_than_one_token(name: str) -> None:
    """As CodeT5's tokenizer has them for the decoder, and PLBART's for the encoder (</s> and a language)."""
    model, family = tiny(name, marks=Marks((END, 60), (0, BEGIN)))
    data = pairs()
    wanted = 0.0
    with torch.no_grad():
        for index in range(len(data)):
            prompt, answer = split(data, index)
            ids, read = torch.tensor([[*prompt, END, 60]]), torch.tensor([[0, BEGIN, *answer[:-1]]])
            logits = model(input_ids=ids, decoder_input_ids=read).logits[0, 1:]
            wanted += float(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(answer), reduction="sum"))
        batch = collate(data, make_rows(data, "padded", 64, range(len(data))), "padded")
        assert float(summed_loss(Adapted(model, "full"), family, batch)) == pytest.approx(wanted, rel=TOLERANCE[name])


def test_prompts_as_long_as_the_positions_are_padded_no_further() -> None:
    """Widths are rounded up to 32, but PLBART here has 48 positions, and the longest prompt with its mark takes 47."""
    data = pairs()
    ids = data.ids.repeat(3)[:48]
    ids[-1] = END
    long = TokenisedExamples(ids, (torch.arange(48) >= 46).numpy(), torch.tensor([0, 48]).numpy())
    adapted, family = adapted_tiny("plbart", "full")
    batch = collate(long, [[(0, 0, 48)]], "padded")
    assert pairs_of(batch, family).prompt_ids.shape[1] == POSITIONS
    with torch.no_grad():
        wanted = float(stock_loss(adapted.model, *split(long, 0)))
        assert float(summed_loss(adapted, family, batch)) == pytest.approx(wanted, rel=1e-12)


class PairTokenizer(LetterTokenizer):
    """EOS is 2 here, as it is CodeT5's and PLBART's."""

    eos_id, infill_marks, styles = END, None, ("instruction",)


PROMPTS = ("abc", "hello world of many letters", "z", "qrstuvw", "mnopqrstuvwxyzabcdef")


def engine(adapted: Adapted, family: Family) -> OwnEngine:
    tokenizer: Any = PairTokenizer()
    return OwnEngine(LoadedModel("tiny", adapted.model, tokenizer, family, ""), adapted)


@pytest.mark.parametrize("method", PAIR_METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_greedy_is_stock_generate_alone_and_in_a_batch(name: str, method: str) -> None:
    adapted, family = adapted_tiny(name, method)
    adapted.root.eval()
    tokenizer, wanted = PairTokenizer(), []
    for prompt in PROMPTS:
        ids = torch.tensor([[*tokenizer.encode(prompt, False), END]])
        # Without a cache, which transformers makes for as many layers as the encoder has.
        settings = {"num_beams": 1, "do_sample": False, "use_cache": False, "decoder_start_token_id": family.marks.before_answer[0]}
        made = adapted.model.generate(ids, max_new_tokens=14, eos_token_id=END, **settings)
        wanted.append(tokenizer.decode_after([], made[0, 1:].tolist()))
    assert len(set(wanted)) > 2, "the tiny model says the same to everything: the test could not fail"
    requests = [Request(str(number), prompt) for number, prompt in enumerate(PROMPTS)]
    for batch_size in (1, 2, 5):
        got = engine(adapted, family).generate(requests, DecodingConfig(max_new_tokens=14, batch_size=batch_size))
        assert [one.text for one in got] == wanted
    voice = Voice("tiny", engine(adapted, family).loaded, Tree(adapted.model), method, None)
    with closing(ContinuousEngine([voice], rows=3)) as live, ThreadPoolExecutor(5) as pool:
        asks = [Ask("tiny", prompt=prompt, decoding=DecodingConfig(max_new_tokens=14)) for prompt in PROMPTS]
        assert list(pool.map(partial(write, live), asks)) == wanted


def sampled(batch_size: int, seed: int) -> list[Generated]:
    adapted, family = adapted_tiny("t5", "lora")
    decoding = DecodingConfig(temperature=0.8, top_p=0.95, max_new_tokens=10, batch_size=batch_size, seed=seed)
    return engine(adapted, family).generate([Request(prompt, prompt, n=3) for prompt in PROMPTS], decoding)


def test_sampling_depends_on_the_seed_and_not_on_the_batch() -> None:
    once = sampled(4, seed=1)
    assert once == sampled(15, seed=1)
    assert once != sampled(4, seed=2)
    assert [(one.task_id, one.index) for one in once] == [(prompt, index) for prompt in PROMPTS for index in range(3)]
    assert len({one.text for one in once[:3]}) > 1


def test_room_and_stop_sequences() -> None:
    """PLBART here has 48 positions for its prompt with a mark, and as many for an answer with its start; T5's know no end."""
    adapted, family = adapted_tiny("plbart", "full")
    one, decoding = engine(adapted, family), DecodingConfig(max_new_tokens=60)
    assert [one.room(Request("a", "a" * length)) for length in (1, 47, 48, 50)] == [47, 47, -1, -3]
    reported: list[Generated] = []
    made = one.generate([Request("fits", "a" * 47), Request("long", "a" * 48)], decoding, reported.extend)
    assert [(each.task_id, each.finish, each.num_tokens) for each in made if each.finish == "too_long"] == [("long", "too_long", 0)]
    assert made[0].finish in ("length", "eos")
    assert sorted(reported, key=lambda each: each.task_id) == sorted(made, key=lambda each: each.task_id)
    t5, facts = adapted_tiny("t5", "full")
    free = engine(t5, facts)
    assert free.room(Request("a", "a" * 3000)) > 100_000
    whole = free.generate([Request("a", "abc")], DecodingConfig(max_new_tokens=12))[0].text
    stopped = free.generate([Request("a", "abc", stop=(whole[3:5],))], DecodingConfig(max_new_tokens=12))[0]
    assert (stopped.finish, stopped.text) == ("stop", whole[: whole.index(whole[3:5])])


@pytest.mark.parametrize("method", [name for name in ALL if name != "full"])
@pytest.mark.parametrize("name", MODELS)
def test_saving_and_merging_change_nothing(name: str, method: str, tmp_path: Path) -> None:
    """In float32: loaded here, loaded by plain PEFT, and merged; cross-attention has its adapters, too."""
    adapted, family = adapted_tiny(name, ALL[method], torch.float32)
    assert any(("EncDecAttention" in each or "encoder_attn" in each) and "lora" in each for each in adapted.trained())
    assert not any("lm_head" in each for each in adapted.trained())
    data = pairs()
    probe, first = probe_batch(data), split(data, 0)
    wanted = probe_logits(adapted, family, probe)
    adapted.save(tmp_path)
    assert '"task_type": "SEQ_2_SEQ_LM"' in (tmp_path / "adapter_config.json").read_text()
    loaded = load_adapter(tiny(name, torch.float32)[0], tmp_path)
    assert torch.equal(probe_logits(loaded, family, probe), wanted)
    plain = peft.PeftModel.from_pretrained(tiny(name, torch.float32)[0], str(tmp_path)).eval()
    ids, labels = torch.tensor([[*first[0], END]]), torch.tensor([first[1]])
    with torch.no_grad():
        assert difference(plain(input_ids=ids, labels=labels).logits[0], wanted[: len(first[1])]) < 1e-5
    base = probe_logits(Adapted(tiny(name, torch.float32)[0], "base"), family, probe)
    assert difference(base, wanted) > 0.05, "the adapter does nothing: the test could not fail"
    merged = copy.deepcopy(adapted.peft).merge_and_unload()
    assert difference(probe_logits(Adapted(merged, "full"), family, probe), wanted) < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_a_whole_model_comes_back(name: str, tmp_path: Path) -> None:
    adapted, family = adapted_tiny(name, "full", torch.float32)
    adapted.save(tmp_path)
    loaded = transformers.AutoModelForSeq2SeqLM.from_pretrained(str(tmp_path), attn_implementation="sdpa")
    probe = probe_batch(pairs())
    assert torch.equal(probe_logits(Adapted(loaded, "full"), family, probe), probe_logits(adapted, family, probe))


@pytest.mark.parametrize("method", PAIR_METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_layers_computed_twice_change_nothing(name: str, method: str) -> None:
    """Activation checkpointing of encoder and decoder, bit for bit."""
    adapted, family = adapted_tiny(name, method)
    loss, gradients = batched(adapted, family, pairs(), 3)
    checkpoint_layers(adapted.model)
    got, got_gradients = batched(adapted, family, pairs(), 3)
    assert got == loss
    assert all(torch.equal(got_gradients[key], gradient) for key, gradient in gradients.items())
