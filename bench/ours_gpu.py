"""One measurement of codetune's training step on a GPU: model, method, gradient, clipping and optimiser as in a run.

    python -m bench.host --once bench.ours_gpu job.json        as bench/parts.py runs it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from bench.gpu_job import GpuJob, StepTimes, answer, matrix_rate, same_weights
from codetune.config import FullConfig, LoraConfig, MethodConfig, TrainConfig
from codetune.data.pack import Row, best_fit_decreasing
from codetune.data.tokenise import join
from codetune.methods import attach
from codetune.models.families import family_of, targets_of
from codetune.models.load import no_dropout
from codetune.models.machine import versions
from codetune.train.dry_run import random_base
from codetune.train.gradient import clip_gradients, step_gradient
from codetune.train.optimizer import make_optimizer
from codetune.train.ready import make_ready
from codetune.train.run import Material, Run

LEARNING_RATE = 1e-4
COMPILE: dict[str, Any] = {"codetune compiled": True, "codetune CUDA graphs": "cuda_graphs"}  # train.compile


def measure(job: GpuJob) -> str:
    """The measurement as JSON."""
    rate = matrix_rate(job.where, job.rate_size)
    run = run_of(job)
    trained = run.adapted.trained()
    optimizer = make_optimizer(trained, run.config, LEARNING_RATE)
    run.adapted.root.train()
    if job.where == "cuda":
        torch.cuda.reset_peak_memory_stats()
    clock, losses = StepTimes(job.where), []
    for step in run.material.steps:
        loss, supervised, _ = step_gradient(run, step)
        clip_gradients(run, trained)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss / supervised)
        clock.step_ended()
    return answer(job, clock, losses, rate, versions())


def run_of(job: GpuJob) -> Run:
    """The model with its method, ready to train, and the job's steps."""
    config: Any = transformers.AutoConfig.for_model(job.config["model_type"]).from_dict(job.config)
    no_dropout(config)
    method: MethodConfig = LoraConfig(lora_rank=job.lora_rank, lora_alpha=2 * job.lora_rank) if job.method == "lora" else FullConfig()
    settings: dict[str, Any] = {"precision": job.precision, "optimizer": job.optimizer}
    train = TrainConfig(
        **settings, fast=job.system != "codetune plain", compile=COMPILE.get(job.system, False),
        activation_checkpointing=job.checkpointing, max_seq_len=job.row_tokens,
        batch_tokens=sum(job.documents), micro_batch_size=job.rows_per_pass,
    )  # fmt: skip
    torch.manual_seed(0)
    model = random_base(config, method, train, job.where)
    adapted = attach(model, method, targets_of(model), [1], 0)
    same_weights(adapted.root)
    make_ready(adapted, train, job.where)
    return Run(adapted, family_of(config), _material(job), train, LEARNING_RATE, Path())


def _material(job: GpuJob) -> Material:
    """Each step's documents packed among themselves, so that every step sees what the peer's step sees; all tokens but a first count."""
    ids, count = job.ids(), len(job.documents)
    rows: list[Row] = []
    steps: list[list[int]] = []
    for first in range(0, len(ids), count):
        packed = best_fit_decreasing(job.documents, job.row_tokens)
        steps.append(list(range(len(rows), len(rows) + len(packed))))
        rows += [[(first + k, start, stop) for k, start, stop in row] for row in packed]
    return Material(join(ids, [1] * len(ids)), rows, steps)


def main(path: Path) -> None:
    """Print the measurement as JSON."""
    print(measure(GpuJob.load(path)))
