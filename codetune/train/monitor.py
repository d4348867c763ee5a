"""What a run is measured by while it trains, and what follows: the best weights are kept, and training may end early."""

from __future__ import annotations

import math

import torch

from codetune.train.gradient import shared_batches
from codetune.train.precision import autocast
from codetune.train.resume import Progress
from codetune.train.run import Run


def measure(run: Run, trained: dict[str, torch.nn.Parameter], progress: Progress) -> dict[str, float]:
    """What the step's row says of the weights as they are now; empty at most steps."""
    return _validate(run, trained, progress) if _validates(run, progress.step) else {}


@torch.no_grad()
def validation_loss(run: Run) -> float:
    """Mean loss per supervised token of the validation set, packed exactly."""
    material = run.material
    assert material.validation is not None
    device, total, count = run.adapted.model.device, 0.0, 0.0
    run.adapted.root.eval()
    for batch, weight in shared_batches(run, material.validation, material.validation_rows, "exact"):
        with autocast(run.config, device):
            total += weight * float(run.summed_loss(batch.to(device)))
        count += weight * batch.num_targets
    run.adapted.root.train()
    total, count = run.group.total(total, count)
    return total / max(1, count)


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
            run.checkpoints.save_best(trained, progress)
    else:
        progress.validations_without_better += 1
        if 0 < run.config.patience <= progress.validations_without_better:
            progress.stopped = f"no better validation loss in {run.config.patience} validations"
    return {"val_loss": loss}
