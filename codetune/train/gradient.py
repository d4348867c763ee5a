"""The gradient of one step, the same however its rows are cut into micro-batches."""

from __future__ import annotations

import torch

from codetune.batches import collate
from codetune.models.forward import summed_loss
from codetune.train.plan import Step, micro_batches
from codetune.train.precision import autocast
from codetune.train.run import Run


def step_gradient(run: Run, step: Step) -> tuple[float, int, int]:
    """Leave the gradient of a step's mean loss in the parameters. Returns (summed loss, supervised tokens, text tokens)."""
    device = run.adapted.model.device
    groups = micro_batches(step, run.material.rows, run.config.micro_batch_size)
    batches = [collate(run.material.examples, rows, run.config.packing) for rows in groups]
    supervised = max(1, sum(batch.num_targets for batch in batches))
    total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)  # MPS has no float64
    for batch in batches:
        with autocast(run.config, device):
            loss = summed_loss(run.adapted, run.family, batch.to(device))
        (loss / supervised).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    tokens = sum(int((batch.documents > 0).sum()) for batch in batches)
    return float(total), supervised, tokens
