"""Packing: nothing is lost, no row is overfull, and rows are about as few as can be."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.data import conala
from codetune.data.pack import best_fit_decreasing, one_stream
from codetune.data.tokenise import encode_pair
from codetune.errors import UserError
from codetune.prompts.template import make_template
from tests.real_tokenizers import gpt2

CAPACITY = 40
lengths = st.lists(st.integers(1, CAPACITY), max_size=60)


def fewest_rows(lengths: tuple[int, ...], rooms: tuple[int, ...] = ()) -> int:
    """The optimum by trying everything: each item into each row with room, or into a new one."""
    if not lengths:
        return len(rooms)
    first, rest = lengths[0], lengths[1:]
    best = fewest_rows(rest, (*rooms, CAPACITY - first))
    for place, room in enumerate(rooms):
        if room >= first:
            best = min(best, fewest_rows(rest, (*rooms[:place], room - first, *rooms[place + 1 :])))
    return best


@given(lengths)
def test_every_example_once_and_no_row_overfull(lengths: list[int]) -> None:
    rows = best_fit_decreasing(lengths, CAPACITY)
    assert sorted(chain.from_iterable(rows)) == list(range(len(lengths)))
    assert all(0 < sum(lengths[index] for index in row) <= CAPACITY for row in rows)


@given(lengths)
def test_no_two_rows_would_fit_into_one(lengths: list[int]) -> None:
    """Hence all rows but one are more than half full, whatever the lengths are."""
    sizes = sorted(sum(lengths[index] for index in row) for row in best_fit_decreasing(lengths, CAPACITY))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > CAPACITY


@given(st.lists(st.integers(1, CAPACITY), min_size=1, max_size=7))
def test_within_eleven_ninths_of_the_optimum(lengths: list[int]) -> None:
    assert len(best_fit_decreasing(lengths, CAPACITY)) <= 11 / 9 * fewest_rows(tuple(lengths)) + 6 / 9


def test_by_hand() -> None:
    """Each goes where it leaves the least room: 3 beside 7 and 4 beside 6, not the other way about."""
    assert best_fit_decreasing([3, 6, 4, 7], 10) == [[3, 0], [1, 2]]
    assert best_fit_decreasing([5, 5, 5], 10) == [[0, 1], [2]]
    assert best_fit_decreasing([], 10) == []


def test_many_short_examples_fill_their_rows() -> None:
    drawn = np.random.default_rng(0).lognormal(4, 0.6, 20_000).astype(int).clip(5, 1024).tolist()
    assert len(best_fit_decreasing(drawn, 1024)) <= -(-sum(drawn) // 1024) + 1


def test_conala_in_gpt2_tokens(data_folder: Path) -> None:
    """106,332 tokens, which no packing gets into fewer than 104 rows of 1,024."""
    tokenizer, template = gpt2(data_folder), make_template("instruction")
    pairs = [encode_pair(template.render(problem), tokenizer) for problem in conala.load_train(data_folder / conala.TRAIN_FILE)]
    lengths = [len(prompt) + len(completion) for prompt, completion in pairs]
    assert (len(lengths), sum(lengths)) == (2379, 106_332)
    assert 104 <= len(best_fit_decreasing(lengths, 1024)) <= 105


@pytest.mark.parametrize("length", [0, -1, 11])
def test_an_example_that_cannot_be_packed_is_refused(length: int) -> None:
    with pytest.raises(UserError, match=f"an example of {length} tokens does not fit a row of 10: raise max_seq_len"):
        best_fit_decreasing([3, length], 10)


@given(lengths)
def test_one_stream_loses_nothing_and_fills_every_row_but_the_last(lengths: list[int]) -> None:
    rows = one_stream(lengths, CAPACITY)
    sizes = [sum(stop - start for _, start, stop in row) for row in rows]
    assert all(size == CAPACITY for size in sizes[:-1])
    tokens = [(index, token) for row in rows for index, start, stop in row for token in range(start, stop)]
    assert tokens == [(index, token) for index, length in enumerate(lengths) for token in range(length)]


def test_one_stream_by_hand() -> None:
    assert one_stream([3, 6, 1], 4) == [[(0, 0, 3), (1, 0, 1)], [(1, 1, 5)], [(1, 5, 6), (2, 0, 1)]]
    assert one_stream([2, 2], 4) == [[(0, 0, 2), (1, 0, 2)]]
    assert one_stream([], 4) == []
