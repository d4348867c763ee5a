"""Memory that runs out while training, as one line that says what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from codetune.errors import UserError
from codetune.train.resume import has_checkpoint


@contextlib.contextmanager
def memory_limits(folder: Path) -> Iterator[None]:
    """Memory that runs out while training is a UserError that says what to do; a checkpoint that was saved stays."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        kept = "; the checkpoint is kept" if has_checkpoint(folder) else ""
        raise UserError(
            f"out of memory in training{kept}: halve train.micro_batch_size, or set train.activation_checkpointing=true, or "
            "train.precision=bf16 (`codetune plan` with this recipe forecasts what fits, with --gpu 24GB for another machine)"
        ) from None


def out_of_memory(error: BaseException) -> bool:
    """Of the GPU's allocator, the CPU's (which has no class of its own), or Python's."""
    told = ("can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in told)
