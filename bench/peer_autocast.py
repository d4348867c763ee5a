"""One measurement of transformers and PEFT in a loop by hand: bf16 autocast, nothing computed twice. Runs in the peers' environment.

    bench/.venv-peers/bin/python -m bench.peer_autocast job.json        run by bench/step.py

What a user has who writes the loop himself: the model in float32, products in bf16 by autocast, the loss that the model computes,
padded batches with their attention mask, fused AdamW.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import torch

from bench.job import Job, Measurement, StepClock, answer, measured
from bench.peer_start import NO_LOSS, start

PACKAGES = ("peft", "transformers", "torch")


def measure(job: Job) -> Measurement:
    """Train as the job says."""
    torch.set_num_threads(job.threads)
    model = start(job).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=job.learning_rate, betas=(0.9, job.beta2), weight_decay=0.0, fused=True)
    clock, losses, seen = StepClock(), list[float](), 0
    for step in job.steps:
        loss, tokens = gradient(model, job, step)
        torch.nn.utils.clip_grad_norm_(trained, job.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss)
        seen += tokens
        clock.step_ended()
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return measured(clock, losses, seen, versions)


def gradient(model: Any, job: Job, step: range) -> tuple[float, int]:
    """The gradient of the step's mean loss per predicted token, in passes of `examples_per_pass`: that loss, and the text tokens seen."""
    targets = sum(len(job.ids[i]) - max(1, job.prompt_lengths[i]) for i in step)
    total, seen = 0.0, 0
    for at in range(0, len(step), job.examples_per_pass):
        batch = padded(job, step[at : at + job.examples_per_pass])
        context = torch.autocast("cpu", torch.bfloat16) if job.system.precision == "bf16" else contextlib.nullcontext()
        with context:
            loss = model(**batch, use_cache=False).loss
        share = int((batch["labels"][:, 1:] != NO_LOSS).sum()) / targets
        (loss * share).backward()
        total += loss.item() * share
        seen += int(batch["attention_mask"].sum())
    return total, seen


def padded(job: Job, chosen: range) -> dict[str, torch.Tensor]:
    """The examples as one batch, padded on the right; without a loss where they are padded and where the prompt is."""
    width = max(len(job.ids[i]) for i in chosen)
    ids = torch.zeros(len(chosen), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, NO_LOSS)
    for row, i in enumerate(chosen):
        own, first = torch.tensor(job.ids[i]), max(1, job.prompt_lengths[i])
        ids[row, : len(own)] = own
        mask[row, : len(own)] = 1
        labels[row, first : len(own)] = own[first:]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the answer alone goes to stdout
        result = measure(Job.load(Path(sys.argv[1])))
    print(answer(result))
