"""Bits per byte, by hand."""

from __future__ import annotations

import math

import pytest

from codetune.data.encode import encode
from codetune.data.tokenise import collect
from codetune.models.load import load_tokenizer
from codetune.prompts.rendered import Rendered
from codetune.train.held_out import bits_per_byte, supervised_bytes


def test_only_the_text_under_the_loss_counts() -> None:
    tokenizer = load_tokenizer("codetune-base")
    pair, plain = Rendered.pair("Say it: ", "print('né')\n"), Rendered.plain("x = 1\n")
    examples = collect(encode(rendered, tokenizer) for rendered in (pair, plain))
    first = tokenizer.inner.decode(examples.example(1)[:1].tolist())
    count = len("print('né')\n".encode()) + len("x = 1\n") - len(first)  # nothing comes before the first token of plain code
    assert supervised_bytes(examples, tokenizer) == count
    assert bits_per_byte(math.log(2), examples, tokenizer) == pytest.approx(examples.supervised_tokens / count)
