"""The generation benchmark's table: who wrote how much in which time, and that texts are compared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import generation
from codetune.errors import UserError
from codetune.models.load import load_tokenizer

TEXTS = ("return a", "return b")


def job(texts: int = 2) -> Any:
    tokenizer = load_tokenizer("codetune-base")
    ids = [tokenizer.encode(f"# {number}\n", False) for number in range(texts)]
    options = SimpleNamespace(model="codetune-base")
    return SimpleNamespace(options=options, adapters={"lora": Path(), "prompt_tuning": Path()}, texts=["x"] * texts, ids=ids)


def theirs(seconds: float, texts: tuple[str, str] = TEXTS) -> dict[str, Any]:
    tokenizer = load_tokenizer("codetune-base")
    ids = [[*tokenizer.encode(text, False), tokenizer.eos_id] for text in texts]
    return {"lora": {"ids": ids, "cpu_seconds": seconds, "seconds": 2 * seconds}, "prompt_tuning": {"failed": "ValueError: no"}}


def test_ratios_are_of_the_best_repeats_and_the_peers_failures_are_left_out() -> None:
    ours = [{"tokens": 60, "cpu_seconds": seconds, "seconds": seconds} for seconds in (3.0, 2.0)]
    rows = generation.make_rows(job(), ours, ours, [theirs(4.0), theirs(1.0)], {"lora": 2}, 32)
    tokens = sum(len(ids) for ids in theirs(1)["lora"]["ids"])
    assert [(row["ours"], row["peer"]) for row in rows[:2]] == [(30, tokens), (30, tokens / 2)]
    assert (rows[0]["goal"], rows[0]["must"], rows[0]["aim"]) == ("G11", 3, 5)
    assert "goal" not in rows[1]
    assert "lora 2 of 2" in rows[0]["same"]


def test_equal_texts_are_counted_and_a_lora_that_says_something_else_is_refused() -> None:
    assert generation.agreement(job(), {"texts": {"lora": list(TEXTS)}}, theirs(1)) == {"lora": 2}
    with pytest.raises(UserError, match="1 of 2 texts are transformers'"):
        generation.agreement(job(), {"texts": {"lora": ["return a", "return c"]}}, theirs(1))


def test_a_study_without_adapters_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no adapter of lora, prefix_tuning, prompt_tuning"):
        generation.of_study(tmp_path)
