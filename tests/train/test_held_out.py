"""Bits per byte, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from codetune.data.encode import encode
from codetune.data.tokenise import collect, join
from codetune.models.load import load_tokenizer
from codetune.prompts.rendered import Rendered
from codetune.train import held_out
from codetune.train.held_out import bits_per_byte, supervised_bytes
from tests.exactness.tiny import TOLERANCE, adapted_tiny


def test_only_the_text_under_the_loss_counts() -> None:
    tokenizer = load_tokenizer("codetune-base")
    pair, plain = Rendered.pair("Say it: ", "print('né')\n"), Rendered.plain("x = 1\n")
    examples = collect(encode(rendered, tokenizer) for rendered in (pair, plain))
    first = tokenizer.inner.decode(examples.example(1)[:1].tolist())
    count = len("print('né')\n".encode()) + len("x = 1\n") - len(first)  # nothing comes before the first token of plain code
    assert supervised_bytes(examples, tokenizer) == count
    assert bits_per_byte(math.log(2), examples, tokenizer) == pytest.approx(examples.supervised_tokens / count)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
def test_a_shared_beginning_is_run_once_and_changes_nothing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "_WORTH_SHARING", 4)
    adapted, facts = adapted_tiny(family, "lora")
    beginning = [5, 9, 2, 7, 7, 3]
    texts = [[*beginning, 11, 4, 8, 1], [*beginning, 12, 6], [*beginning, 11, 4, 2, 2, 9]]
    alike = join(texts, [8, 7, 8])
    unlike = join([[6, *text[1:]] if text is texts[1] else text for text in texts], [8, 7, 8])
    seen: list[int] = []
    whole = held_out.summed_loss

    def counted(adapted: Any, family: Any, batch: Any) -> Any:
        seen.append(int((batch.documents > 0).sum()))
        return whole(adapted, family, batch)

    monkeypatch.setattr(held_out, "summed_loss", counted)
    found = held_out.mean_loss(adapted, facts, alike)
    assert seen == [sum(map(len, texts)) - 3 * len(beginning)]
    held_out.mean_loss(adapted, facts, unlike)
    assert seen[1:] == [sum(map(len, texts))]
    monkeypatch.setattr(held_out, "_WORTH_SHARING", 100)
    assert found == pytest.approx(held_out.mean_loss(adapted, facts, alike), rel=TOLERANCE[family])


def test_a_beginning_ends_before_the_tokens_that_are_predicted() -> None:
    adapted, _ = adapted_tiny("llama", "full")
    same = [5, 9, 2, 7, 7, 3]
    assert held_out._shared(adapted, join([same, same], [4, 3])) == 2, "a token that is not predicted stays before the first one"
    assert held_out._shared(adapted, join([same, same], [0, 3])) == 0
    assert held_out._shared(adapted_tiny("llama", "prefix_tuning")[0], join([same, same], [4, 3])) == 0
