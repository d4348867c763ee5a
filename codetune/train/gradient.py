"""The gradient of one step, the same however its rows are cut into micro-batches, or dealt to processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from codetune.batches import Batch, collate
from codetune.config import Packing
from codetune.data.pack import Row
from codetune.data.tokenise import TokenisedExamples
from codetune.train.plan import Step, micro_batches, share_of
from codetune.train.precision import autocast
from codetune.train.run import Run


def step_gradient(run: Run, step: Step, good: Callable[[float], bool] | None = None) -> tuple[float, int, int]:
    """Leave the gradient of a step's mean loss in the parameters, the same in every process of the group, or in this one's shards.

    Returns (summed loss, supervised tokens, text tokens), each of the whole step. `good`, of a step in one pass, is asked about its mean
    loss before the backward pass, which is made only if it is.
    """
    device = run.adapted.model.device
    batches = shared_batches(run, run.material.examples, [run.material.rows[number] for number in step], run.config.packing)
    counts = [(weight * batch.num_targets, weight * int((batch.documents > 0).sum())) for batch, weight in batches]
    supervised, tokens = (int(count) for count in run.group.total(*map(sum, zip(*counts, strict=True))))
    supervised = max(1, supervised)
    total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)  # MPS has no float64
    with run.group.own_random_numbers():
        for batch, weight in batches:
            with autocast(run.config, device):
                loss = weight * run.summed_loss(batch)
            if good is None or good(float(loss.detach()) / supervised):
                (loss / supervised).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
    if run.shards is not None:
        run.shards.hand_over_gradients()
    else:
        run.group.sum_gradients(run.adapted.trained().values())
    return run.group.total(float(total))[0], supervised, tokens


def shared_batches(run: Run, examples: TokenisedExamples, rows: Sequence[Row], packing: Packing) -> list[tuple[Batch, int]]:
    """This process's micro-batches of some rows, each with the weight 1.

    All processes get the same number, as they pass through a sharded model together: what one has too few are single rows of weight 0.
    """
    group, size = run.group, run.config.micro_batch_size
    every = list(range(len(rows)))
    own = micro_batches(share_of(every, rows, group.rank, group.size), rows, size)
    largest_share = -(-len(rows) // group.size)
    missing = -(-largest_share // size) - len(own)
    return [(collate(examples, each, packing), 1) for each in own] + [(collate(examples, rows[:1], packing), 0)] * missing


def clip_gradients(run: Run, trained: Mapping[str, torch.nn.Parameter]) -> float:
    """Scale the gradients down to `max_grad_norm` together, where there is one. Returns their norm before that."""
    most = math.inf if run.config.max_grad_norm is None else run.config.max_grad_norm
    if run.shards is None:
        return float(torch.nn.utils.clip_grad_norm_(trained.values(), most))
    own = torch.nn.utils.get_total_norm([p.grad for p in trained.values() if p.grad is not None])
    norm = math.sqrt(run.group.total(float(own) ** 2)[0])
    torch.nn.utils.clip_grads_with_norm_(trained.values(), most, torch.tensor(norm, dtype=own.dtype, device=own.device))
    return norm
