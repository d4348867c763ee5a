"""Memory that runs out, as one line that names what would fit, each with its forecast; or, where none can be made, what to try."""

from __future__ import annotations

import contextlib
import gc
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch

from codetune.config import CHANGES_ROUNDING, TrainRecipe
from codetune.errors import UserError
from codetune.models.forecast import Machine
from codetune.train.fitting import changes_that_fit, longest_batches, named
from codetune.train.memory import forecast_memory
from codetune.train.resume import has_checkpoint
from codetune.train.run import Material

_TOLD = ("can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc", "could not create a memory")
_AFTER_ALL = 0.9  # of its own forecast is what a change may take, where the forecast would have fit and the run did not
Shortage = Callable[[bool], str]


@contextlib.contextmanager
def memory_limits(folder: Path, shortage: Shortage | None = None) -> Iterator[None]:
    """Memory that runs out is a UserError that says what to do; a checkpoint that was saved stays.

    `shortage(kept)` says what would fit (`shortage_of`), only such changes as a checkpoint can be gone on from where one is `kept`.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        kept = has_checkpoint(folder)
        traceback.clear_frames(error.__traceback__)  # what the step had made goes
        gc.collect()
        found = ""
        with contextlib.suppress(RuntimeError, MemoryError, OSError):
            found = shortage(kept) if shortage is not None else ""
        advice = found or (
            "halve train.micro_batch_size, or set train.activation_checkpointing=true, or train.precision=bf16 "
            "(`codetune plan` with this recipe forecasts what fits, with --gpu 24GB for another machine)"
        )
        raise UserError(f"out of memory in training{'; the checkpoint is kept' if kept else ''}: {advice}") from None


def shortage_of(recipe: TrainRecipe, config: Any, material: Material) -> Shortage:
    """What to say of a settled recipe that ran out of memory: how much there was, and up to three changes that would fit."""

    def told(kept: bool) -> str:
        longest = longest_batches(material, recipe.train)
        machine = memory_there_was(recipe.device)
        own = forecast_memory(config, recipe.method, recipe.train, longest, gpu=machine.gpu).peak
        limit = min(machine.memory_bytes, int(_AFTER_ALL * own))
        least = Machine(machine.name, limit, machine.gpu, machine.here)
        changes = changes_that_fit(recipe, config, longest, least, keys=CHANGES_ROUNDING if kept else None)
        go_on = " and go on from it" if changes and kept else ""
        if not changes and kept:
            changes = changes_that_fit(recipe, config, longest, least)
            go_on = " in another --out" if changes else ""
        there = f"{own / 1e9:.2f} GB forecast, {machine.memory_bytes / 1e9:.2f} GB there on {machine.name}"
        if not changes:
            return f"{there}; nothing that codetune can change would fit: take a smaller model or a larger machine"
        return f"{there}; these would fit{go_on}: {named(changes)}"

    return told


def memory_there_was(device: str) -> Machine:
    """The GPU's memory; or what this process holds of the main memory and what it could have had besides, limits of its own included."""
    if device == "cuda":
        return Machine(torch.cuda.get_device_name(), int(torch.cuda.get_device_properties(0).total_memory), gpu=True, here=True)
    process = psutil.Process()
    room = psutil.virtual_memory().available
    held = process.memory_info()
    for kind, used in ((resource.RLIMIT_AS, held.vms), (resource.RLIMIT_DATA, getattr(held, "data", 0))):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            room = min(room, max(0, limit - used))
    return Machine("this machine", int(held.rss + room), gpu=False, here=True)


def out_of_memory(error: BaseException) -> bool:
    """Of the GPU's allocator, the CPU's (which has no class of its own), or Python's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error).lower() for words in _TOLD)
