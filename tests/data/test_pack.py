"""Packing: nothing is lost, no row is overfull, rows are about as few as can be, and the quick way gives what the plain way gives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetune.data import conala
from codetune.data.encode import encode_pair
from codetune.data.pack import PackedRows, Row, best_fit_decreasing, load_rows, one_stream, row_tokens, save_rows, tokens_of
from codetune.errors import UserError
from codetune.prompts.template import make_template
from tests.real_tokenizers import gpt2

CAPACITY = 40
lengths = st.lists(st.integers(1, CAPACITY), max_size=60)
few_lengths = st.lists(st.sampled_from([1, 3, 7, 13, 20, 21, 39, 40]), max_size=200)  # many of each: whole groups of rows move at once


def examples_of(rows: Sequence[Row]) -> list[list[int]]:
    return [[example for example, _, _ in row] for row in rows]


def one_by_one(lengths: list[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing as it is told: each into the fullest row with room; of equally full ones into that which came to it last."""
    rows: list[tuple[int, int, list[int]]] = []  # room, when it came to it, examples
    for time, index in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        fitting = [number for number, (room, _, _) in enumerate(rows) if room >= lengths[index]]
        if fitting:
            best = min(fitting, key=lambda number: (rows[number][0], -rows[number][1]))
            rows[best] = (rows[best][0] - lengths[index], time, [*rows[best][2], index])
        else:
            rows.append((capacity - lengths[index], time, [index]))
    return [examples for _, _, examples in rows]


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


@given(lengths | few_lengths)
def test_every_example_once_and_no_row_overfull(lengths: list[int]) -> None:
    rows = best_fit_decreasing(lengths, CAPACITY)
    assert sorted(chain.from_iterable(rows)) == [(index, 0, length) for index, length in enumerate(lengths)]
    assert all(0 < row_tokens(row) <= CAPACITY for row in rows)


@given(lengths | few_lengths, st.integers(CAPACITY, CAPACITY + 9))
def test_whole_groups_are_placed_as_one_by_one(lengths: list[int], capacity: int) -> None:
    assert examples_of(best_fit_decreasing(lengths, capacity)) == one_by_one(lengths, capacity)


@given(lengths | few_lengths)
def test_no_two_rows_would_fit_into_one(lengths: list[int]) -> None:
    """Hence all rows but one are more than half full, whatever the lengths are."""
    sizes = sorted(map(row_tokens, best_fit_decreasing(lengths, CAPACITY)))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > CAPACITY


@given(st.lists(st.integers(1, CAPACITY), min_size=1, max_size=7))
def test_within_eleven_ninths_of_the_optimum(lengths: list[int]) -> None:
    assert len(best_fit_decreasing(lengths, CAPACITY)) <= 11 / 9 * fewest_rows(tuple(lengths)) + 6 / 9


def test_by_hand() -> None:
    """Each goes where it leaves the least room: 3 beside 7 and 4 beside 6, not the other way about."""
    assert list(best_fit_decreasing([3, 6, 4, 7], 10)) == [[(3, 0, 7), (0, 0, 3)], [(1, 0, 6), (2, 0, 4)]]
    assert examples_of(best_fit_decreasing([5, 5, 5], 10)) == [[0, 1], [2]]
    assert list(best_fit_decreasing([], 10)) == []


def test_many_short_examples_fill_their_rows() -> None:
    drawn = np.random.default_rng(0).lognormal(4, 0.6, 20_000).astype(int).clip(5, 1024)
    assert len(best_fit_decreasing(drawn, 1024)) <= -(-drawn.sum() // 1024) + 1


@pytest.mark.parametrize("capacity", [1 << 16, 100_000])
def test_rows_longer_than_sixteen_bits(capacity: int) -> None:
    drawn = np.random.default_rng(0).integers(1, capacity + 1, 60).tolist()
    assert examples_of(best_fit_decreasing(drawn, capacity)) == one_by_one(drawn, capacity)


def test_more_rows_than_sixteen_bits() -> None:
    """70,000 rows of one 6 and one 4 each, in the given order."""
    rows = best_fit_decreasing([6, 4] * 70_000, 10)
    assert rows.row_offsets.tolist() == list(range(0, 140_001, 2))
    assert rows[0] == [(0, 0, 6), (139_999, 0, 4)]  # the last row to be left with 4 is the first to be filled
    assert rows[-1] == [(139_998, 0, 6), (1, 0, 4)]


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
    order = np.random.default_rng(len(lengths)).permutation(len(lengths)).tolist()
    rows = one_stream(lengths, CAPACITY, order)
    sizes = [row_tokens(row) for row in rows]
    assert all(size == CAPACITY for size in sizes[:-1])
    tokens = [(index, token) for row in rows for index, start, stop in row for token in range(start, stop)]
    assert tokens == [(index, token) for index in order for token in range(lengths[index])]


def test_one_stream_by_hand() -> None:
    assert list(one_stream([3, 6, 1], 4)) == [[(0, 0, 3), (1, 0, 1)], [(1, 1, 5)], [(1, 5, 6), (2, 0, 1)]]
    assert list(one_stream([3, 6, 1], 4, [2, 0, 1])) == [[(2, 0, 1), (0, 0, 3)], [(1, 0, 4)], [(1, 4, 6)]]
    assert list(one_stream([2, 2], 4)) == [[(0, 0, 2), (1, 0, 2)]]
    assert list(one_stream([], 4)) == []


def test_packed_rows_are_a_sequence_of_rows() -> None:
    rows = best_fit_decreasing([3, 6, 4, 7], 10)
    listed = [[(3, 0, 7), (0, 0, 3)], [(1, 0, 6), (2, 0, 4)]]
    assert (len(rows), rows[0], rows[-1], rows[1:5], rows[::-1]) == (2, listed[0], listed[1], listed[1:], listed[::-1])
    assert tokens_of(rows) == tokens_of(listed) == [10, 10]
    for outside in (2, -3):
        with pytest.raises(IndexError):
            rows[outside]


def test_rows_are_kept_beside_the_tokens(tmp_path: Path) -> None:
    rows = one_stream([3, 6, 1], 4)
    save_rows(tmp_path / "rows-4", rows, {"row_tokens": 4})
    loaded = load_rows(tmp_path / "rows-4")
    assert isinstance(loaded, PackedRows)
    assert list(loaded) == list(rows)
    (tmp_path / "rows-4" / "starts.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"starts.npy is damaged: remove .*rows-4 to have it made again"):
        load_rows(tmp_path / "rows-4")
