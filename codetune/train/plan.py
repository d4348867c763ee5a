"""Which rows each optimiser step sees: the same for every method, fixed by the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from codetune.data.pack import Row, row_tokens, tokens_of

Step = list[int]  # row numbers


def plan_steps(rows: Sequence[Row], train_tokens: int, batch_tokens: int, seed: int) -> list[Step]:
    """Steps of at least half and on average `batch_tokens` text tokens each, until `train_tokens` have been seen.

    Rows are shuffled anew in each epoch; a step may span two. Virtual tokens and padding are not counted, so prompt-tuning
    takes the same steps as LoRA.
    """
    order, tokens = _endless(len(rows), seed), tokens_of(rows)
    steps: list[Step] = []
    seen = 0
    while seen < train_tokens:
        step: Step = []
        while seen < min(train_tokens, (len(steps) + 1) * batch_tokens):
            step.append(next(order))
            seen += tokens[step[-1]]
        if step:
            steps.append(step)
        else:  # one row was longer than a whole step's share
            steps.append([next(order)])
            seen += tokens[steps[-1][-1]]
    return steps


def micro_batches(step: Step, rows: Sequence[Row], micro_batch_size: int) -> list[list[Row]]:
    """The step's rows in groups for one forward pass each, alike in length so that little is padded."""
    ordered = sorted((rows[number] for number in step), key=row_tokens)
    return [ordered[at : at + micro_batch_size] for at in range(0, len(ordered), micro_batch_size)]


def share_of(step: Step, rows: Sequence[Row], rank: int, size: int) -> Step:
    """The rows of a step that process `rank` of `size` computes.

    They are dealt longest first, back and forth, so that all have about the same tokens. Numbers of rows differ by one at
    most; where a step has fewer rows than there are processes, some get none.
    """
    ordered = sorted(step, key=lambda number: -row_tokens(rows[number]))
    return [number for at, number in enumerate(ordered) if rank == (at % size if at // size % 2 == 0 else size - 1 - at % size)]


def _endless(count: int, seed: int) -> Iterator[int]:
    epoch = 0
    while True:
        order = list(range(count))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        yield from order
        epoch += 1
