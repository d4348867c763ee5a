"""The one training loop, the same for every method: what differs between methods is which parameters train."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch

from codetune.runs import append_row, read_rows, write_rows
from codetune.train.gradient import clip_gradients, step_gradient
from codetune.train.monitor import measure
from codetune.train.optimizer import Optimizer, make_optimizer
from codetune.train.resume import Progress, load_best, load_checkpoint, save_checkpoint
from codetune.train.run import METRICS, Run
from codetune.train.schedule import learning_rate_share


def train(run: Run) -> Progress:
    """Train to the end of the plan, from the folder's checkpoint if there is one. Leaves the kept weights in the model.

    Every step's gradient is that of the mean loss over all supervised tokens of the step, however it is cut into
    micro-batches. Ctrl-C saves a checkpoint first; on CPU a resumed run ends with the same weights, bit for bit.
    """
    trained = run.trained()
    optimizer = make_optimizer(trained, run.config, run.learning_rate)
    progress = load_checkpoint(run.folder, trained, optimizer) or Progress()
    write_rows(run.folder / METRICS, [row for row in read_rows(run.folder / METRICS) if row["step"] <= progress.step])
    run.adapted.root.train()
    saved_at = time.monotonic()
    with interrupts_after_steps() as interrupted:
        while progress.step < len(run.material.steps) and not progress.stopped:
            _one_step(run, trained, optimizer, progress)
            if interrupted() or time.monotonic() - saved_at > run.config.checkpoint_every_s:
                save_checkpoint(run.folder, trained, optimizer, progress)
                saved_at = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt
    save_checkpoint(run.folder, trained, optimizer, progress)
    if run.config.keep == "best":
        load_best(run.folder, trained)
    return progress


@contextlib.contextmanager
def interrupts_after_steps() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until a step is done, so that what is saved is never half of one. A second Ctrl-C ends at once."""
    pending: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if pending:
            raise KeyboardInterrupt
        pending.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pending)
    finally:
        signal.signal(signal.SIGINT, before)


def _one_step(run: Run, trained: dict[str, torch.nn.Parameter], optimizer: Optimizer, progress: Progress) -> None:
    started, steps = time.perf_counter(), len(run.material.steps)
    rate = run.learning_rate * learning_rate_share(run.config, progress.step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss_sum, supervised, tokens = step_gradient(run, run.material.steps[progress.step])
    norm = clip_gradients(run, trained)
    loss = loss_sum / supervised
    if not (math.isfinite(loss) and math.isfinite(norm)):
        progress.losses_finite, progress.stopped = False, f"loss {loss} and gradient norm {norm} at step {progress.step + 1}"
        return
    optimizer.step()
    optimizer.zero_grad()
    seconds = time.perf_counter() - started
    progress.step += 1
    progress.tokens += tokens
    progress.supervised_tokens += supervised
    progress.seconds += seconds
    progress.first_loss = loss if progress.first_loss is None else progress.first_loss
    progress.last_loss = loss
    row: dict[str, Any] = {"step": progress.step, "tokens": progress.tokens, "loss": loss, "lr": rate, "grad_norm": norm}
    row |= {"seconds": progress.seconds, "tokens_per_s": tokens / seconds}
    row |= measure(run, trained, progress)
    if run.group.leads:
        append_row(run.folder / METRICS, row)
        run.report(progress, steps)
