"""One measurement of codetune: the job's steps through the real training loop (`codetune.train.loop`), packed exactly.

    python -m bench.ours job.json        run by bench/training.py
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import torch

from bench.job import Job, Measurement, StepClock, answer, measured
from bench.material import attach_method
from codetune.config import TrainConfig
from codetune.data.pack import Row, best_fit_decreasing, one_stream
from codetune.data.tokenise import join
from codetune.methods import Adapted
from codetune.models.load import LoadedModel, load_model
from codetune.runs import read_rows
from codetune.train.loop import train
from codetune.train.ready import make_ready
from codetune.train.run import METRICS, Material, Run


def measure(job: Job) -> Measurement:
    """Train as the job says."""
    torch.set_num_threads(job.threads)
    config = TrainConfig(
        train_tokens=job.tokens, max_seq_len=job.row_tokens, micro_batch_size=job.rows_per_pass, beta2=job.beta2,
        max_grad_norm=job.max_grad_norm, schedule="constant", warmup_share=0.0, precision=job.system.precision, fast=job.system.fast,
        compile=job.system.compile, packing="concatenated" if job.system.concatenated else "exact",
        validations=0, keep="last", checkpoint_every_s=1e9,
    )  # fmt: skip
    loaded, adapted = adapt(job, config)
    clock = StepClock()
    run = Run(adapted, loaded.family, material(job), config, job.learning_rate, Path(job.scratch), report=lambda *_: clock.step_ended())
    progress = train(run)
    if job.keep is not None:
        adapted.save(Path(job.keep))
    losses = [row["loss"] for row in read_rows(run.folder / METRICS)]
    versions = {name: importlib.metadata.version(name) for name in ("codetune", "torch", "transformers", "peft")}
    return measured(clock, losses, progress.tokens, versions)


def adapt(job: Job, config: TrainConfig) -> tuple[LoadedModel, Adapted]:
    """The model with the job's method, ready to train as `codetune train` has it."""
    loaded = load_model(job.model)
    adapted = attach_method(loaded, job.method, job.start_ids)
    make_ready(adapted, config, "cpu")
    return loaded, adapted


def material(job: Job) -> Material:
    """Each step's examples packed among themselves, so that every step sees what the peer's step sees."""
    rows: list[Row] = []
    steps: list[list[int]] = []
    for step in job.steps:
        lengths = [len(job.ids[i]) for i in step]
        packed = (one_stream if job.system.concatenated else best_fit_decreasing)(lengths, job.row_tokens)
        steps.append(list(range(len(rows), len(rows) + len(packed))))
        rows += [[(step[k], start, stop) for k, start, stop in row] for row in packed]
    return Material(join(job.ids, job.prompt_lengths), rows, steps)


if __name__ == "__main__":
    print(answer(measure(Job.load(Path(sys.argv[1])))))
