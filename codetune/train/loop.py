"""The one training loop, the same for every method: what differs between methods is which parameters train."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from codetune.batches import collate
from codetune.config import TrainConfig
from codetune.data.pack import Row
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.forward import summed_loss
from codetune.runs import append_row, read_rows, write_rows
from codetune.train.optimizer import Optimizer, make_optimizer
from codetune.train.plan import Step, micro_batches
from codetune.train.resume import Progress, load_best, load_checkpoint, save_best, save_checkpoint
from codetune.train.schedule import learning_rate_share

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from and is validated on, packed."""

    examples: TokenisedExamples
    rows: Sequence[Row]
    steps: Sequence[Step]
    validation: TokenisedExamples | None = None
    validation_rows: Sequence[Row] = ()


@dataclass(slots=True)
class Run:
    """A method attached to a model, its material, and how to train it. `report` is told after every step."""

    adapted: Adapted
    family: Family
    material: Material
    config: TrainConfig
    learning_rate: float
    folder: Path
    report: Callable[[Progress, int], None] = lambda progress, steps: None


def train(run: Run) -> Progress:
    """Train to the end of the plan, from the folder's checkpoint if there is one. Leaves the kept weights in the model.

    Every step's gradient is that of the mean loss over all supervised tokens of the step, however it is cut into
    micro-batches. Ctrl-C saves a checkpoint first; on CPU a resumed run ends with the same weights, bit for bit.
    """
    trained = run.adapted.trained()
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


def step_gradient(run: Run, step: Step) -> tuple[float, int, int]:
    """Leave the gradient of a step's mean loss in the parameters. Returns (summed loss, supervised tokens, text tokens)."""
    device = run.adapted.model.device
    groups = micro_batches(step, run.material.rows, run.config.micro_batch_size)
    batches = [collate(run.material.examples, rows, run.config.packing) for rows in groups]
    supervised = max(1, sum(batch.num_targets for batch in batches))
    total = torch.zeros((), dtype=torch.float64, device=device)
    for batch in batches:
        with precision(run.config, device):
            loss = summed_loss(run.adapted, run.family, batch.to(device))
        (loss / supervised).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    tokens = sum(int((batch.documents > 0).sum()) for batch in batches)
    return float(total), supervised, tokens


@torch.no_grad()
def validation_loss(run: Run) -> float:
    """Mean loss per supervised token of the validation set, packed exactly."""
    material = run.material
    assert material.validation is not None
    device, total, count = run.adapted.model.device, 0.0, 0
    run.adapted.root.eval()
    for at in range(0, len(material.validation_rows), run.config.micro_batch_size):
        batch = collate(material.validation, material.validation_rows[at : at + run.config.micro_batch_size], "exact").to(device)
        with precision(run.config, device):
            total += float(summed_loss(run.adapted, run.family, batch))
        count += batch.num_targets
    run.adapted.root.train()
    return total / max(1, count)


def precision(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Matrix products in bf16 with everything else in fp32, or all of it in the weights' own dtype."""
    return torch.autocast(device.type, torch.bfloat16) if config.precision == "bf16" else contextlib.nullcontext()


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
    norm = float(torch.nn.utils.clip_grad_norm_(trained.values(), run.config.max_grad_norm))
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
    if _validates(run, progress.step):
        row |= _validate(run, trained, progress)
    append_row(run.folder / METRICS, row)
    run.report(progress, steps)


def _validates(run: Run, step: int) -> bool:
    """At evenly spaced steps, the last one included."""
    count, steps = run.config.validations, len(run.material.steps)
    return run.material.validation is not None and count > 0 and step * count // steps > (step - 1) * count // steps


def _validate(run: Run, trained: dict[str, torch.nn.Parameter], progress: Progress) -> dict[str, float]:
    """The validation loss for the step's row; left out, with training stopped, where it is no number."""
    loss = validation_loss(run)
    if not math.isfinite(loss):
        progress.losses_finite, progress.stopped = False, f"validation loss {loss} at step {progress.step}"
        return {}
    progress.last_val_loss = loss
    if progress.best_val_loss is None or loss < progress.best_val_loss:
        progress.best_val_loss, progress.validations_without_better = loss, 0
        if run.config.keep == "best":
            save_best(run.folder, trained)
    else:
        progress.validations_without_better += 1
        if 0 < run.config.patience <= progress.validations_without_better:
            progress.stopped = f"no better validation loss in {run.config.patience} validations"
    return {"val_loss": loss}
