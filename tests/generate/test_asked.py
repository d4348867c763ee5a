"""What a live ask becomes for a model of one's own: the ids of real families' tokenizers."""

from __future__ import annotations

from pathlib import Path

from codetune.generate.asked import prompt_of
from codetune.generate.live import Ask
from tests.real_tokenizers import deepseek_coder, gpt2, starcoder


def ids(ask: Ask, tokenizer: object) -> list[int]:
    return prompt_of(ask, "instruction", ("instruction",), tokenizer, 100_000)[0]  # type: ignore[arg-type]


def test_an_editors_own_marks_are_the_familys_tokens(data_folder: Path) -> None:
    """The same question, whether the editor writes the marks or the server does."""
    for tokenizer, (prefix, suffix, middle) in (
        (starcoder(data_folder), ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")),
        (deepseek_coder(data_folder), ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")),
    ):
        written = ids(Ask("m", prompt=f"{prefix}def f(x):\n    {suffix}\n    return y{middle}"), tokenizer)
        served = ids(Ask("m", prompt="def f(x):\n    ", suffix="\n    return y"), tokenizer)
        assert written == served


def test_elsewhere_a_text_that_spells_a_mark_is_a_text(data_folder: Path) -> None:
    """A file about tokenizers must not end its own prompt."""
    tokenizer = gpt2(data_folder)
    found = ids(Ask("m", prompt="x = '<|endoftext|>'"), tokenizer)
    assert tokenizer.eos_id not in found
    assert tokenizer.decode_after([], found) == "x = '<|endoftext|>'"
