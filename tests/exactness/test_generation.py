"""DESIGN's exactness rule 4: greedy output is the same alone and in any batch, for every family and method."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from codetune.config import DecodingConfig
from codetune.generate.engine import OwnEngine
from codetune.generate.request import Generated, Request
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.load import LoadedModel
from tests.exactness.test_packing import alone
from tests.exactness.tiny import KINDS, PAIRS, VOCAB, adapted_tiny


class LetterTokenizer:
    """One token per character, from 3 on; 0 is EOS. The tokenizer's part of the seam, nothing else."""

    name_hash, bos_id, eos_id, chat_template, bos_token, eos_token = "letters", None, 0, None, "", ""

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        return [3 + (ord(letter) - 97) % (VOCAB - 3) for letter in text]

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        return self.encode(text, False)

    def decode_after(self, prompt_ids: list[int], ids: list[int]) -> str:
        return "".join(chr(97 + token - 3) for token in ids if token >= 3)


def engine(adapted: Adapted, family: Family) -> OwnEngine:
    tokenizer: Any = LetterTokenizer()
    return OwnEngine(LoadedModel("tiny", adapted.model, tokenizer, family, ""), adapted)


def by_hand(adapted: Adapted, prompt: str, steps: int) -> str:
    """Greedy text without a cache or a batch: the whole text anew through stock transformers for every token."""
    tokenizer = LetterTokenizer()
    ids = tokenizer.encode(prompt, False)
    made: list[int] = []
    with torch.no_grad():
        for _ in range(steps):
            token = int(alone(adapted, torch.tensor(ids + made))[-1].argmax())
            made.append(token)
            if token == 0:
                break
    return tokenizer.decode_after([], made)


PROMPTS = ("abc", "hello world of many letters", "z", "qrstuvw", "mnopqrstuvwxyzabcdef")


@pytest.mark.parametrize("shared", ["", "beginning"], ids=["nothing in common", "a common beginning"])
@pytest.mark.parametrize(("family", "method"), [pair for pair in PAIRS if pair[1] in KINDS or pair[0] == "gpt2"])
def test_greedy_is_the_same_alone_and_in_a_batch(family: str, method: str, shared: str) -> None:
    """The common beginning, which a batch runs once, is longer than Mistral's window; one prompt is nothing else."""
    adapted, facts = adapted_tiny(family, method)
    adapted.root.eval()
    prompts = [shared + prompt for prompt in PROMPTS] + [shared] * bool(shared)
    wanted = [by_hand(adapted, prompt, 14) for prompt in prompts]
    assert len(set(wanted)) > 2, "the tiny model says the same to everything: the test could not fail"
    requests = [Request(str(number), prompt) for number, prompt in enumerate(prompts)]
    for batch_size in (1, 2, 5):
        got = engine(adapted, facts).generate(requests, DecodingConfig(max_new_tokens=14, batch_size=batch_size))
        assert [one.text for one in got] == wanted


def sampled(batch_size: int, seed: int) -> list[Generated]:
    adapted, facts = adapted_tiny("gpt2", "prompt_tuning")
    decoding = DecodingConfig(temperature=0.8, top_p=0.95, max_new_tokens=10, batch_size=batch_size, seed=seed)
    return engine(adapted, facts).generate([Request(prompt, prompt, n=3) for prompt in PROMPTS], decoding)


def test_sampling_depends_on_the_seed_and_not_on_the_batch() -> None:
    once = sampled(4, seed=1)
    assert once == sampled(15, seed=1)
    assert once != sampled(4, seed=2)
    assert [(one.task_id, one.index) for one in once] == [(prompt, index) for prompt in PROMPTS for index in range(3)]
    assert len({one.text for one in once[:3]}) > 1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_going_on_after_whole_batches_gives_the_batches_that_would_have_come(n: int) -> None:
    adapted, facts = adapted_tiny("gpt2", "full")
    decoding = DecodingConfig(temperature=1, n=n, batch_size=4, max_new_tokens=2)
    requests = [Request(prompt, prompt, n) for prompt in (*PROMPTS, "abd")]  # two are equally long

    def batches(asked: list[Request]) -> list[list[str]]:
        found: list[list[str]] = []
        engine(adapted, facts).generate(asked, decoding, lambda made: found.append([one.task_id for one in made]))
        return found

    whole = batches(requests)
    assert [len(each) for each in whole] == {1: [4, 2], 2: [4, 4, 4], 5: [5] * 6}[n]
    assert whole[0][0] == "hello world of many letters"
    assert batches([each for each in requests if each.task_id not in whole[0]]) == whole[1:]


@pytest.mark.parametrize(("method", "virtual"), [("full", 0), ("prefix_tuning", 5), ("prompt_tuning", 5)])
def test_a_prompt_is_answered_in_the_room_there_is_and_not_at_all_without(method: str, virtual: int) -> None:
    """Of 96 positions; the short prompt beside them says what it says alone."""
    adapted, facts = adapted_tiny("gpt2", method)
    requests = [Request(str(room), "a" * (96 - virtual - room)) for room in (1, 0, -1, 3)]
    one = engine(adapted, facts)
    assert [one.room(each) for each in requests] == [1, 0, -1, 3]
    short, decoding, reported = Request("short", "abc"), DecodingConfig(max_new_tokens=6), list[Generated]()
    made = one.generate([*requests, short], decoding, reported.extend)
    assert [each.finish for each in made[1:3]] == ["too_long", "too_long"]
    assert [(each.text, each.num_tokens) for each in made[1:3]] == [("", 0)] * 2
    assert [(each.finish, each.num_tokens) for each in (made[0], made[3]) if each.finish != "eos"] == [("length", 1), ("length", 3)]
    assert made[4] == one.generate([short], decoding)[0]
    assert sorted(reported, key=lambda each: each.task_id) == sorted(made, key=lambda each: each.task_id)


def test_stop_sequences_end_the_text_before_them() -> None:
    adapted, facts = adapted_tiny("llama", "full")
    whole = engine(adapted, facts).generate([Request("a", "abc")], DecodingConfig(max_new_tokens=12))[0].text
    stop = whole[5:7]
    got = engine(adapted, facts).generate([Request("a", "abc", stop=(stop,))], DecodingConfig(max_new_tokens=12))[0]
    assert got.finish == "stop"
    assert got.text == whole[: whole.index(stop)]
