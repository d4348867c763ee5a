"""Words of texts as hashes: the same words have the same hash wherever they stand, and others have others."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.data import words
from codetune.data.words import Words, runs, word_hashes

TEXTS = st.lists(st.text(alphabet=st.sampled_from("aZ_9é\u2028 \n.\x00\ud800") | st.characters(), max_size=60), max_size=8)


def naive_words(text: str) -> list[bytes]:
    raw = text.encode("utf-8", "surrogatepass")
    return [word.lower() for word in re.findall(rb"[A-Za-z0-9_\x80-\xff]+", raw)]


def of(found: Words, text: int) -> list[int]:
    return found.hashes[found.offsets[text] : found.offsets[text + 1]].tolist()


@given(TEXTS)
def test_equal_hashes_are_equal_words(texts: list[str]) -> None:
    found, naive = word_hashes(texts), [naive_words(text) for text in texts]
    pairs = {pair for number, each in enumerate(naive) for pair in zip(each, of(found, number), strict=True)}
    assert len({word for word, _ in pairs}) == len({key for _, key in pairs}) == len(pairs)


@given(TEXTS)
def test_a_text_and_its_bytes_alone_or_among_others_have_the_same_hashes(texts: list[str]) -> None:
    found = word_hashes(texts)
    for number, text in enumerate(texts):
        assert of(word_hashes([text.encode("utf-8", "surrogatepass")]), 0) == of(found, number)


@pytest.mark.parametrize("length", [7, 8, 9, 15, 16, 17, 1000])
def test_every_byte_of_a_long_word_counts(length: int) -> None:
    variants = [b"x" * length, b"x" * (length + 1), *(b"x" * at + b"y" + b"x" * (length - at - 1) for at in range(length))]
    swapped = b"abcdefgh" * 2 + b"12345678"  # the same chunks in another order
    found = word_hashes([*variants, swapped, swapped[8:] + swapped[:8]])
    assert len(set(found.hashes.tolist())) == length + 4


def test_texts_beyond_one_group_are_hashed_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{number} and more of it" for number in range(50)]
    whole = word_hashes(texts)
    monkeypatch.setattr(words, "_GROUP_BYTES", 100)
    assert np.array_equal(word_hashes(texts).hashes, whole.hashes)
    assert np.array_equal(word_hashes(texts).offsets, whole.offsets)


@given(TEXTS, st.integers(1, 6))
def test_runs_are_those_of_each_text(texts: list[str], length: int) -> None:
    found = runs(word_hashes(texts), length)
    naive = [[tuple(each[at : at + length]) for at in range(len(each) - length + 1)] for each in map(naive_words, texts)]
    pairs = {pair for number, each in enumerate(naive) for pair in zip(each, of(found, number), strict=True)}
    assert len({run for run, _ in pairs}) == len({key for _, key in pairs}) == len(pairs)
