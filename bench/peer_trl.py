"""One measurement of TRL's SFTTrainer with PEFT: the same token ids, labels, start and steps. Runs in the peers' environment.

    bench/.venv-peers/bin/python -m bench.peer_trl job.json        run by bench/training.py
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl

from bench.job import Job, Measurement, StepClock, answer, measured
from bench.peer_start import NO_LOSS, start

PACKAGES = ("trl", "peft", "transformers", "torch", "accelerate", "datasets")


class Clock(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
    """Tells a StepClock when an optimiser step ended."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clock.step_ended()


def measure(job: Job) -> Measurement:
    """Train as the job says; whatever TRL raises is the caller's to report."""
    torch.set_num_threads(job.threads)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    clock = StepClock()
    trainer = trl.SFTTrainer(
        model=start(job), args=config(job), train_dataset=dataset(job), callbacks=[Clock(clock)],
        processing_class=transformers.AutoTokenizer.from_pretrained(job.model),
    )  # fmt: skip
    trainer.train()
    if job.keep is not None:
        trainer.model.save_pretrained(job.keep)
    logged = [row for row in trainer.state.log_history if "loss" in row]
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return measured(clock, [row["loss"] for row in logged], int(logged[-1]["num_tokens"]), versions)


def dataset(job: Job) -> Any:
    """The pairs as a pre-tokenised data set: TRL leaves `input_ids` and `labels` as they are."""
    labels = [[NO_LOSS] * max(1, prompt) + ids[max(1, prompt) :] for ids, prompt in zip(job.ids, job.prompt_lengths, strict=True)]
    return datasets.Dataset.from_dict({"input_ids": job.ids, "labels": labels})


def config(job: Job) -> Any:
    """SFTConfig's defaults but for what makes the runs the same (steps, order, optimiser) and what the system names."""
    system, batch, accumulated = job.system, job.examples_per_pass, job.examples_per_step // job.examples_per_pass
    longest = None if system.padding_free else 1024
    if system.packing:  # rows instead of examples, so many that a step has as many tokens; one pass over the text either way
        batch, longest = job.rows_per_pass, job.row_tokens
        accumulated = max(1, round(job.tokens / len(job.steps) / longest / batch))
    return trl.SFTConfig(
        output_dir=job.scratch, per_device_train_batch_size=batch, gradient_accumulation_steps=accumulated,
        max_steps=-1 if system.packing else len(job.steps), num_train_epochs=1, packing=system.packing,
        train_sampling_strategy="sequential", learning_rate=job.learning_rate, lr_scheduler_type="constant",
        adam_beta2=job.beta2, max_grad_norm=job.max_grad_norm, weight_decay=0.0, seed=0, use_cpu=True, bf16=system.precision == "bf16",
        gradient_checkpointing=system.checkpointing, padding_free=system.padding_free, max_length=longest,
        logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the answer alone goes to stdout
        result = measure(Job.load(Path(sys.argv[1])))
    print(answer(result))
