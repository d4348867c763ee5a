"""Stop sequences in token ids: met where the text has them, however they are cut into tokens."""

from __future__ import annotations

import random
from typing import Any

import pytest

from codetune.generate.watching import Pieces, Watching
from codetune.models.load import load_tokenizer

TEXTS = (
    "def f(a):\n    return a\n\n### Instruction:\nmore", "x = 'é' + '→'  # naïve\n", "a\n### b", "print(1)\nprint(2)\n\n\ndef g():", "###"
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer("codetune-base")


@pytest.mark.parametrize("stops", [("\n### ",), ("\ndef ", "\n\n\n"), ("→",), ("é", "\n###"), (" ",), ("never there",), ()])
def test_it_stops_with_the_token_that_completes_a_sequence(tokenizer: Any, stops: tuple[str, ...]) -> None:
    rng = random.Random(0)
    stopped = 0
    for text in TEXTS:
        whole = tokenizer.encode(text, False)
        letters = [token for letter in text for token in tokenizer.encode(letter, False)]  # the most tokens that there can be
        for ids in (whole, letters, letters[: rng.randrange(len(letters))]):
            watching = Watching(Pieces(tokenizer), stops)
            for at, token in enumerate(ids, 1):
                watching.add(token)
                there = any(stop in tokenizer.decode_after([], ids[:at]) for stop in stops)
                assert watching.stopped == there
                stopped += there
    assert (stopped > 0) == (stops not in (("never there",), ()))
