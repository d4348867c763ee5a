"""The plan of steps: every row once per epoch, the budget kept, the same for every method."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from codetune.data.pack import Row, best_fit_decreasing, row_tokens
from codetune.train.plan import Step, micro_batches, plan_steps


def rows_of(lengths: list[int]) -> list[Row]:
    return [[(number, 0, length)] for number, length in enumerate(lengths)]


def tokens_of(steps: list[Step], rows: list[Row]) -> list[int]:
    return [sum(row_tokens(rows[number]) for number in step) for step in steps]


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=30)


def test_by_hand() -> None:
    rows = rows_of([10] * 4)
    steps = plan_steps(rows, train_tokens=70, batch_tokens=20, seed=0)
    assert [len(step) for step in steps] == [2, 2, 2, 1]
    assert sorted(steps[0] + steps[1]) == [0, 1, 2, 3]


@given(lengths, st.integers(1, 2000), st.integers(1, 300), st.integers(0, 9))
def test_each_row_comes_once_per_epoch(lengths: list[int], train_tokens: int, batch_tokens: int, seed: int) -> None:
    order = [number for step in plan_steps(rows_of(lengths), train_tokens, batch_tokens, seed) for number in step]
    for start in range(0, len(order), len(lengths)):
        epoch = order[start : start + len(lengths)]
        assert len(set(epoch)) == len(epoch)


@given(lengths, st.integers(1, 2000), st.integers(1, 300), st.integers(0, 9))
def test_the_budget_is_reached_and_passed_by_less_than_a_row(lengths: list[int], train_tokens: int, batch_tokens: int, seed: int) -> None:
    rows = rows_of(lengths)
    steps = plan_steps(rows, train_tokens, batch_tokens, seed)
    assert all(steps)
    assert train_tokens <= sum(tokens_of(steps, rows)) < train_tokens + max(lengths)


@given(lengths, st.integers(100, 300), st.integers(0, 9))
def test_steps_are_alike_in_size(lengths: list[int], batch_tokens: int, seed: int) -> None:
    """With rows of at most half a batch, every full step has between a half and one and a half batches; on average one."""
    rows = rows_of(lengths)
    *full, _last = tokens_of(plan_steps(rows, 10 * batch_tokens, batch_tokens, seed), rows)
    assert len(full) == 9
    assert all(batch_tokens / 2 <= size <= 1.5 * batch_tokens for size in full)
    assert abs(sum(full) - 9 * batch_tokens) < max(lengths)


def test_rows_longer_than_a_batch_are_steps_of_their_own() -> None:
    rows = rows_of([100] * 3)
    assert [len(step) for step in plan_steps(rows, 500, 30, seed=0)] == [1] * 5


def test_only_the_seed_decides_the_order() -> None:
    rows = rows_of(list(range(1, 30)))
    plans = [plan_steps(rows, 900, 100, seed) for seed in range(3)]
    assert plans[0] == plan_steps(rows, 900, 100, 0)
    assert all(one != other for one, other in pairwise(plans))


@given(lengths, st.integers(1, 2000), st.integers(1, 300))
def test_packed_rows_are_planned_like_rows_in_lists(lengths: list[int], train_tokens: int, batch_tokens: int) -> None:
    packed = best_fit_decreasing(lengths, 50)
    listed = list(packed)
    steps = plan_steps(packed, train_tokens, batch_tokens, seed=3)
    assert steps == plan_steps(listed, train_tokens, batch_tokens, seed=3)
    assert [micro_batches(step, packed, 2) for step in steps[:3]] == [micro_batches(step, listed, 2) for step in steps[:3]]


def test_epochs_differ_in_order() -> None:
    rows = rows_of([10] * 12)
    first, second = plan_steps(rows, 240, 120, seed=0)
    assert sorted(first) == sorted(second)
    assert first != second


@given(lengths, st.integers(1, 9))
def test_micro_batches_hold_the_whole_step_by_length(lengths: list[int], size: int) -> None:
    rows = rows_of(lengths)
    groups = micro_batches(list(range(len(rows))), rows, size)
    flat = [row for group in groups for row in group]
    assert sorted(flat) == sorted(rows)
    assert [row_tokens(row) for row in flat] == sorted(lengths)
    assert all(len(group) == size for group in groups[:-1])
