"""What a run is measured by while it trains, and what follows: the best weights are kept, and training may end early."""

from __future__ import annotations

import math

import torch

from codetune.train.gradient import shared_batches
from codetune.train.precision import autocast
from codetune.train.resume import Progress
from codetune.train.run import Reading, Run

Standing = tuple[float, float]  # the lower the better; the second counts where the first is equal


def measure(run: Run, trained: dict[str, torch.nn.Parameter], progress: Progress) -> dict[str, float]:
    """What the step's row says of the weights as they are now; empty at most steps.

    Where the pass rate is monitored, the validation loss is measured beside it, since it decides between equal rates.
    """
    by_rate = run.config.monitor == "pass_rate"
    samples = run.sampler is not None and due(progress.step, run.sampler.times, len(run.material.steps))
    found: dict[str, float] = {}
    validates = _validates(run, progress.step, also=samples and by_rate)
    if validates:
        loss = validation_loss(run)
        if not math.isfinite(loss):
            progress.losses_finite, progress.stopped = False, f"validation loss {loss} at step {progress.step}"
            return {}
        progress.last_val_loss = found["val_loss"] = loss
        progress.best_val_loss = loss if progress.best_val_loss is None else min(loss, progress.best_val_loss)
    if samples:
        found |= _sample(run, progress)
    if samples if by_rate else validates:
        _judge(run, trained, progress)
    return found


def due(step: int, times: int, steps: int) -> bool:
    """Whether a step (1-based) is one of `times` evenly spaced ones, the last one included.

    >>> [step for step in range(1, 11) if due(step, 3, 10)]
    [4, 7, 10]
    """
    return times > 0 and step * times // steps > (step - 1) * times // steps


@torch.no_grad()
def validation_loss(run: Run) -> float:
    """Mean loss per supervised token of the validation set, packed exactly."""
    material = run.material
    assert material.validation is not None
    device, total, count = run.adapted.model.device, 0.0, 0.0
    run.adapted.root.eval()
    for batch, weight in shared_batches(run, material.validation, material.validation_rows, "exact"):
        with autocast(run.config, device):
            total += weight * float(run.summed_loss(batch))
        count += weight * batch.num_targets
    run.adapted.root.train()
    total, count = run.group.total(total, count)
    return total / max(1, count)


def _validates(run: Run, step: int, also: bool) -> bool:
    """At evenly spaced steps, the last one included; `also` adds this one."""
    count = run.config.validations
    return run.material.validation is not None and count > 0 and (also or due(step, count, len(run.material.steps)))


def _sample(run: Run, progress: Progress) -> dict[str, float]:
    """Answers of the model as it is, for the step's row; training goes on as if there had been none. The first process asks."""
    reading = run.group.share(_undisturbed(run) if run.group.leads else Reading(0.0, 0.0, 0.0, 0.0, []))
    progress.last_pass_rate = reading.pass_rate
    progress.best_pass_rate = max(reading.pass_rate, progress.best_pass_rate or 0.0)
    rows = [{"step": progress.step, **row} for row in reading.rows]
    for row in rows:
        run.samples.add(row)
    run.trackers.log_samples(progress.step, rows)
    return {
        "pass_rate": reading.pass_rate, "eos_share": reading.eos_share, "syntax_valid": reading.syntax_valid,
        "mean_new_tokens": reading.mean_tokens,
    }  # fmt: skip


@torch.no_grad()
def _undisturbed(run: Run) -> Reading:
    """In eval mode, in the precision of the training, with the state of torch's random numbers put back (dropout draws them)."""
    assert run.sampler is not None
    device = run.adapted.model.device
    run.adapted.root.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), autocast(run.config, device):
            return run.sampler.read(run.adapted)
    finally:
        run.adapted.root.train()


def _judge(run: Run, trained: dict[str, torch.nn.Parameter], progress: Progress) -> None:
    """Keep the weights where what is monitored is better than ever, the earlier ones where it is equal; else stop when patience ends."""
    progress.monitored_at = progress.step
    now = _standing(run, progress)
    if progress.kept is None or now < progress.kept:
        progress.kept, progress.measurements_without_better = now, 0
        if run.config.keep == "best":
            run.checkpoints.save_best(trained, progress)
        return
    progress.measurements_without_better += 1
    if 0 < run.config.patience <= progress.measurements_without_better:
        measured = ("pass rate", "samplings") if run.config.monitor == "pass_rate" else ("validation loss", "validations")
        progress.stopped = f"no better {measured[0]} in {run.config.patience} {measured[1]}"


def _standing(run: Run, progress: Progress) -> Standing:
    """By the loss, or by the pass rate with the loss where rates are equal; without validation the earlier weights stay."""
    loss = progress.last_val_loss or 0.0
    return (-(progress.last_pass_rate or 0.0), loss) if run.config.monitor == "pass_rate" else (loss, loss)
