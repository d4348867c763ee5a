"""The live engine: a greedy answer is what it is alone, whoever joins, leaves or is given up meanwhile, whatever adapters are mixed."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.continuous import ContinuousEngine
from codetune.generate.live import Ask, BusyError, Piece, TooLongError, UnknownModelError, stream, write
from codetune.models.load import LoadedModel
from codetune.models.several import Tree, Voice
from codetune.prompts.infill import marks_from
from codetune.records import Message
from tests.exactness.test_generation import PROMPTS, Letters, by_hand, voices
from tests.exactness.tiny import FAMILIES, KINDS, METHODS, PAIRS, adapted_tiny, tiny

STEPS = 9
MIXED = (*KINDS, "pissa", "dora")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_is_what_it_is_alone(family: str, tmp_path: Path) -> None:
    """All methods on one base at once, two LoRAs among them, more answers than places, some of them given up."""
    methods = [method for of, method in PAIRS if of == family and method != "full" and (family == "gpt2" or method in MIXED)]
    wanted = {}
    for method in ("full", *methods):
        adapted, _ = adapted_tiny(family, method)
        adapted.root.eval()
        wanted |= {(method, prompt): by_hand(adapted, prompt, STEPS) for prompt in PROMPTS[1:]}
    assert len(set(wanted.values())) > len(wanted) / 2, "the methods say the same: the test could not fail"
    rng = random.Random(0)
    order = rng.sample(sorted(wanted), len(wanted))
    with closing(ContinuousEngine(voices(family, tmp_path, methods), rows=7)) as engine:
        assert len({id(voice.tree) for voice in engine.voices.values()}) < len(methods)  # soft prompts and LoRAs share the base's
        got = answers(engine, [("base" if method == "full" else method, prompt) for method, prompt in order], rng)
    for key, text in zip(order, got, strict=True):
        assert text is None or text == wanted[key], key
    assert sum(text is None for text in got) > len(got) / 10


def answers(engine: ContinuousEngine, asked: list[tuple[str, str]], rng: random.Random) -> list[str | None]:
    """All texts, asked at once; None where it was given up after its first pieces."""
    texts: list[list[str]] = [[] for _ in asked]
    ended = [threading.Event() for _ in asked]
    given_up = [rng.random() < 0.2 for _ in asked]
    tickets: list[Any] = [None] * len(asked)

    def tell(number: int, piece: Piece) -> None:
        assert piece.finish != "failed", piece.text
        texts[number].append(piece.text)
        if piece.finish:
            ended[number].set()
        elif given_up[number] and len(texts[number]) == 1 + number % 4 and tickets[number]:
            tickets[number].cancel()
            ended[number].set()

    for number, (model, prompt) in enumerate(asked):
        ask = Ask(model, prompt=prompt, decoding=DecodingConfig(max_new_tokens=STEPS))
        tickets[number] = engine.submit(ask, lambda piece, number=number: tell(number, piece))
    assert all(event.wait(60) for event in ended)
    return [None if gone else "".join(text) for gone, text in zip(given_up, texts, strict=True)]


@pytest.fixture(scope="module")
def engine() -> Iterator[ContinuousEngine]:
    model, facts = tiny("llama")
    tokenizer: Any = Letters()
    voice = Voice("base", LoadedModel("base", model.eval(), tokenizer, facts, ""), Tree(model), "base", None)
    with closing(ContinuousEngine([voice], rows=3, waiting=4)) as engine:
        yield engine


def ask(prompt: str = "abc", stop: tuple[str, ...] = (), logprobs: int | None = None, **decoding: Any) -> Ask:
    return Ask("base", prompt=prompt, stop=stop, logprobs=logprobs, decoding=DecodingConfig(**{"max_new_tokens": 10} | decoding))


def test_sampling_depends_on_the_seed_alone(engine: ContinuousEngine) -> None:
    def texts(seed: int) -> list[str]:
        pieces = list(stream(engine, ask(n=3, temperature=1.0, seed=seed)))
        return ["".join(piece.text for piece in pieces if piece.index == index) for index in range(3)]

    once = texts(1)
    assert len(set(once)) > 1
    beside = engine.submit(ask("zzzz", max_new_tokens=50, temperature=0.7), lambda piece: None)
    assert texts(1) == once
    beside.cancel()
    assert texts(2) != once


def test_a_stop_sequence_ends_the_text_before_it_and_no_part_of_it_is_given_out(engine: ContinuousEngine) -> None:
    whole = write(engine, ask(max_new_tokens=12))
    stop = whole[5:8]
    pieces = list(stream(engine, ask(max_new_tokens=12, stop=(stop, "never there"))))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish == "stop"
    assert pieces[-1].num_tokens < 12


def test_logprobs_are_those_of_the_model(engine: ContinuousEngine) -> None:
    pieces = list(stream(engine, ask(logprobs=61)))
    found = [one for piece in pieces for one in piece.logprobs]
    assert len(found) == pieces[-1].num_tokens - (pieces[-1].finish == "eos")
    for one in found:
        assert abs(sum(2.718281828459045**value for _, value in one.top) - 1) < 1e-5
        assert one.top[0] == (one.token, one.logprob)  # greedy
        assert list(one.top) == sorted(one.top, key=lambda each: -each[1])


def test_a_hole_is_filled_by_what_the_model_says_to_the_familys_marks() -> None:
    """`suffix` is the same question as the marks in the prompt, and another one than the prompt alone."""
    model, facts = tiny("llama")
    tokenizer: Any = Letters()
    tokenizer.infill_marks = marks_from("<P>", "<S>", "<M>")
    voice = Voice("base", LoadedModel("base", model.eval(), tokenizer, facts, ""), Tree(model), "base", None)
    with closing(ContinuousEngine([voice])) as engine:
        assert engine.models()[0].infills
        decoding = DecodingConfig(max_new_tokens=10)
        filled = write(engine, Ask("base", prompt="abc", suffix="xyz", decoding=decoding))
        assert filled == write(engine, Ask("base", prompt="<P>abc<S>xyz<M>", decoding=decoding))
        assert filled != write(engine, Ask("base", prompt="abc", decoding=decoding))


def test_the_queue_is_bounded_and_what_is_given_up_frees_its_place(engine: ContinuousEngine) -> None:
    held = [engine.submit(ask("b", max_new_tokens=90, temperature=3.0, n=3, seed=5), lambda piece: None)]

    def fill() -> None:
        for _ in range(50):
            held.append(engine.submit(ask("c", max_new_tokens=90, temperature=3.0, seed=6), lambda piece: None))

    with pytest.raises(BusyError, match="at most 4 may"):
        fill()
    for ticket in held:
        ticket.cancel()
    assert write(engine, ask()) == write(engine, ask())
    assert engine.running == engine.waiting == 0


def test_what_cannot_be_answered_is_refused_at_once(engine: ContinuousEngine) -> None:
    for bad, error, words in (
        (Ask("bass", prompt="a"), UnknownModelError, "did you mean 'base'"),
        (ask("a" * 96), TooLongError, "has 96 tokens, so with an answer it is longer than the model's context length of 96"),
        (ask(""), UserError, "the prompt is empty"),
        (Ask("base", prompt=(3, 61)), UserError, "vocabulary has 61"),
        (Ask("base", prompt="a", suffix="b"), UserError, "no marks for infilling"),
        (Ask("base", messages=(Message("user", "a"),), prompt_style="chat"), UserError, "cannot be asked in prompt style 'chat'"),
        (Ask("base", messages=(Message("user", "a"), Message("assistant", "b"))), UserError, "the last message must be the user's"),
    ):
        with pytest.raises(error, match=words):
            engine.submit(bad, lambda piece: None)
    assert len(write(engine, ask("a" * 95))) <= 1


def test_an_error_while_writing_ends_these_answers_and_not_the_engine(engine: ContinuousEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = next(iter(engine._lanes.values()))
    with monkeypatch.context() as patched:
        patched.setattr(lane, "step", lambda: 1 / 0)
        with pytest.raises(UserError, match="writing failed: ZeroDivisionError"):
            write(engine, ask(max_new_tokens=80, temperature=3.0))
    assert write(engine, ask())


def test_a_closed_engine_ends_what_waits(tmp_path: Path) -> None:
    model, facts = tiny("gpt2")
    tokenizer: Any = Letters()
    voice = Voice("base", LoadedModel("base", model.eval(), tokenizer, facts, ""), Tree(model), "base", None)
    engine = ContinuousEngine([voice])
    pieces: list[Piece] = []
    engine.submit(ask("b", max_new_tokens=95, temperature=3.0, n=20), pieces.append)
    engine.close()
    assert {piece.finish for piece in pieces} >= {"failed"}
    with pytest.raises(BusyError):
        engine.submit(ask(), pieces.append)


def test_methods_that_mix_are_those_the_rule_names(tmp_path: Path) -> None:
    """One tree for the base, LoRAs and soft prompts; one each for what changes layers in other ways."""
    found = {voice.name: voice for voice in voices("gpt2", tmp_path, [name for name in METHODS if name != "full"])}
    alone = {name for name, voice in found.items() if voice.tree is not found["base"].tree}
    assert alone == {"dora", "vera", "ia3", "bottleneck", "bitfit", "ln_tuning"}
    matrices = [one for name, one in found["base"].tree.model.named_parameters() if one.dim() > 1 and ".lora_" not in name]
    for name in alone:  # they are in memory once
        own = {id(parameter) for parameter in found[name].tree.model.parameters()}
        assert all(id(matrix) in own for matrix in matrices), name
