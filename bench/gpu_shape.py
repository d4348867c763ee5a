"""Shapes of the GPU benchmark: models, the documents of a step, and how many operations a token takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from bench.memory_parts import MemoryPart
from codetune.models.families import family_of
from codetune.models.outline import outline_of, without_data


def config_of(model: str, tiny: bool) -> Any:
    """transformers' config of the shape, or of a tiny one of its family."""
    return MemoryPart(model, "lora", "bf16", 1, 64, tiny=tiny).config()


def documents(rows: int, row_tokens: int, lengths: Sequence[int]) -> list[int]:
    """Tokens of the documents that fill so many rows, of these lengths in turn; none is longer than a row, and the last is cut."""
    left, found = rows * row_tokens, list[int]()
    while left > 0:
        found.append(min(left, row_tokens, lengths[len(found) % len(lengths)]))
        left -= found[-1]
    if found[-1] == 1:  # nothing to predict
        found[-2:] = [found[-2] + 1]
    return found


def documents_a_pass(count: int, rows_per_pass: int, rows: int) -> int:
    """The largest divisor of `count` that is no more than the documents of as many rows as codetune takes a pass."""
    wanted = max(1, count * rows_per_pass // rows)
    return max(each for each in range(1, wanted + 1) if count % each == 0)


def operations_a_token(config: Any, method: Literal["lora", "full"], lengths: Sequence[int]) -> float:
    """Operations of products in the forward and backward passes, a multiplication and an addition counted as two.

    A frozen matrix is met twice (values, and gradients of its inputs), one that trains three times. Attention's two products have half
    of a document's pairs each, forward once and backward twice. The adapters' own products are left out.
    """
    outline, family = outline_of(without_data(config)), family_of(config)
    matrices = outline.linear_parameters + family.vocab_size * family.hidden_size
    pairs = sum(length * length for length in lengths) / 2 / sum(lengths)
    attention = 2 * 2 * pairs * outline.heads * family.head_dim * family.num_layers
    return 2 * matrices * (3 if method == "full" else 2) + 3 * attention
