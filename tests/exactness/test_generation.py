"""DESIGN's exactness rule 4: greedy output is the same alone and in any batch, for every family and method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate import waves
from codetune.generate.engine import OwnEngine, VoicesEngine
from codetune.generate.kept import KeptEngine
from codetune.generate.request import Generated, Request
from codetune.methods import Adapted
from codetune.models import attention
from codetune.models.families import Family
from codetune.models.fast.model import speed_up
from codetune.models.load import LoadedModel
from codetune.models.several import Tree, Voice, voice_on
from tests.exactness.test_packing import alone
from tests.exactness.tiny import KINDS, PAIRS, VOCAB, adapted_tiny, tiny


class LetterTokenizer:
    """One token per character, from 3 on; 0 is EOS. The tokenizer's part of the seam, nothing else."""

    name_hash, bos_id, eos_id, chat_template, bos_token, eos_token = "letters", None, 0, None, "", ""

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        return [3 + (ord(letter) - 97) % (VOCAB - 3) for letter in text]

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        return self.encode(text, False)

    def decode_after(self, prompt_ids: list[int], ids: list[int]) -> str:
        return "".join(chr(97 + token - 3) for token in ids if token >= 3)


class Letters(LetterTokenizer):
    infill_marks, styles = None, ("instruction", "completion")

    def template(self, style: str, examples: Any = ()) -> Any:
        from codetune.prompts.template import make_template

        return make_template(style)


def voices(family: str, folder: Path, methods: list[str]) -> list[Voice]:
    """The tiny base, and its adapters as they are loaded from disk."""
    model, facts = tiny(family)
    tokenizer: Any = Letters()
    base = Voice("base", LoadedModel("base", model.eval(), tokenizer, facts, ""), Tree(model), "base", None)
    found = [base]
    for method in sorted(methods, key=lambda name: name in ("lora", "rslora", "pissa", "lora_plus")):  # into the base's own tree: last
        adapted_tiny(family, method)[0].save(folder / method)
        found.append(voice_on(method, folder / method, base))
    return found


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


@pytest.mark.parametrize("method", KINDS)
def test_attention_in_blocks_is_attention_over_all_columns(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a call of its own costs nothing every two rows are a block, and rows move into the places of those that ended."""
    adapted, facts = adapted_tiny("llama", method)
    adapted.root.eval()
    seen: list[int] = []
    whole = attention.sdpa_attention_forward

    def noted(module: Any, query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(query))
        return whole(module, query, *args, **kwargs)

    monkeypatch.setattr(waves, "_CALL_COLUMNS", 0)
    monkeypatch.setattr(waves, "_FEWEST", 2)
    monkeypatch.setattr(attention, "sdpa_attention_forward", noted)
    prompts = [*PROMPTS, *(prompt[::-1] for prompt in PROMPTS), "ab", "bc"]
    requests = [Request(str(number), prompt) for number, prompt in enumerate(prompts)]
    got = engine(adapted, facts).generate(requests, DecodingConfig(max_new_tokens=14, batch_size=4))
    assert min(seen) < max(seen) == 4
    assert [one.text for one in got] == [by_hand(adapted, prompt, 14) for prompt in prompts]


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_faster_layers_write_what_plain_ones_do(family: str) -> None:
    """With LoRA in them, which takes another way where nothing is kept for a backward pass."""
    adapted, facts = adapted_tiny(family, "lora")
    adapted.root.eval()
    ids = torch.tensor(LetterTokenizer().encode(PROMPTS[1], False))
    with torch.inference_mode():
        wanted = alone(adapted, ids)
        texts = [by_hand(adapted, prompt, 9) for prompt in PROMPTS]
        speed_up(adapted.model, "cpu")
        assert torch.allclose(alone(adapted, ids), wanted, rtol=0, atol=(1e-12 if family == "gpt2" else 1e-5) * float(wanted.abs().max()))
    requests = [Request(str(number), prompt) for number, prompt in enumerate(PROMPTS)]
    got = engine(adapted, facts).generate(requests, DecodingConfig(max_new_tokens=9, batch_size=3))
    assert [one.text for one in got] == texts


def test_several_adapters_share_batches_and_a_voice_that_is_not_there_is_named(tmp_path: Path) -> None:
    methods = ["lora", "rslora", "prefix_tuning", "prompt_tuning", "dora"]
    found = voices("llama", tmp_path, methods)
    requests = [Request(f"{name}/{prompt}", prompt, voice=name) for prompt in PROMPTS[:3] for name in ("base", *methods)]
    together = VoicesEngine(found)
    got = together.generate(requests, DecodingConfig(max_new_tokens=9, batch_size=7))
    for one, asked in zip(got, requests, strict=True):
        adapted, _ = adapted_tiny("llama", "full" if asked.voice == "base" else asked.voice)
        adapted.root.eval()
        assert (one.task_id, one.voice, one.text) == (asked.task_id, asked.voice, by_hand(adapted, asked.prompt, 9))
    with pytest.raises(UserError, match="no model 'lorra' is open: did you mean 'lora'"):
        together.generate([Request("a", "abc", voice="lorra")], DecodingConfig())


def test_places_are_bounded_and_a_prompt_is_run_once_for_all_its_samples() -> None:
    """Twelve samples of two prompts in five places: tokens are counted as they go through the model."""
    adapted, facts = adapted_tiny("gpt2", "full")
    passes: list[tuple[int, int]] = []
    hook = adapted.model.transformer.h[0].register_forward_pre_hook(lambda _, args: passes.append(tuple(args[0].shape[:2])))
    decoding = DecodingConfig(temperature=1, n=6, batch_size=5, max_new_tokens=8)
    made = engine(adapted, facts).generate([Request("a", "abcdefgh", 6), Request("b", "abcdxy", 6)], decoding)
    hook.remove()
    assert max(rows for rows, _ in passes) <= 5
    assert sum(rows * tokens for rows, tokens in passes if tokens > 1) == 4 + 4 + 2  # what both begin with, then the rest of each
    assert len({one.text for one in made}) > 6


def test_a_stopped_run_goes_on_to_the_same_answers(tmp_path: Path) -> None:
    """Whatever was reported before it stopped; samples are drawn, and prompts differ in length."""
    adapted, facts = adapted_tiny("gpt2", "prompt_tuning")
    requests = [Request(prompt, prompt, 2, stop=("q",)) for prompt in (*PROMPTS, "abd")]
    decoding = DecodingConfig(temperature=0.8, n=2, batch_size=3, max_new_tokens=12, seed=3)
    wanted = engine(adapted, facts).generate(requests, decoding)

    class StoppedError(Exception):
        pass

    def stop(made: Sequence[Generated]) -> None:
        if kept.found and made:
            raise StoppedError

    kept = KeptEngine(engine(adapted, facts), tmp_path / "partial", {})
    with pytest.raises(StoppedError):
        kept.generate(requests, decoding, stop)
    resumed = KeptEngine(engine(adapted, facts), tmp_path / "partial", {})
    assert 0 < len(resumed.found) < len(wanted)
    assert resumed.generate(requests, decoding) == wanted


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
