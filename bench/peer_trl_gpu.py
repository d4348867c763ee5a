"""One measurement of TRL's SFTTrainer with PEFT on a GPU: the same weights, documents and steps. Runs in the peers' environment.

    bench/.venv-peers/bin/python -m bench.host --once bench.peer_trl_gpu job.json        as bench/parts.py runs it
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl

from bench.gpu_job import GpuJob, StepTimes, answer, matrix_rate, same_weights

PACKAGES = ("trl", "peft", "transformers", "torch", "accelerate")


class Clock(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self, clock: StepTimes) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clock.step_ended()


def measure(job: GpuJob, scratch: str) -> str:
    """The measurement as JSON; whatever TRL raises is the caller's to report."""
    rate = matrix_rate(job.where, job.rate_size)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    ids = job.ids()
    labels = [[-100, *own[1:]] for own in ids]  # no first token is predicted; for GPT-2 the trainer's mean would count it all the same
    data = datasets.Dataset.from_dict({"input_ids": ids, "labels": labels})
    clock = StepTimes(job.where)
    trainer = trl.SFTTrainer(
        model=_model(job), args=_settings(job, scratch), train_dataset=data, callbacks=[Clock(clock)], processing_class=_Tokenizer.made(job)
    )  # fmt: skip
    if job.where == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return answer(job, clock, losses, rate, {name: importlib.metadata.version(name) for name in PACKAGES})


def _model(job: GpuJob) -> Any:
    """In bf16 with LoRA's own matrices in fp32, as PEFT has it; all in fp32 where everything trains."""
    config: Any = transformers.AutoConfig.for_model(job.config["model_type"]).from_dict(job.config)
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_dropout", "hidden_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    with torch.device(job.where):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if job.method == "lora" else torch.float32)
    if job.method == "lora":
        lora = peft.LoraConfig(
            r=job.lora_rank, lora_alpha=2 * job.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM",
            fan_in_fan_out=job.config["model_type"] == "gpt2",
        )  # fmt: skip
        model = peft.get_peft_model(model, lora)
    same_weights(model)
    return model


def _settings(job: GpuJob, scratch: str) -> Any:
    """SFTConfig's defaults but for what makes the runs the same."""
    return trl.SFTConfig(
        output_dir=scratch, per_device_train_batch_size=job.documents_per_pass,
        gradient_accumulation_steps=len(job.documents) // job.documents_per_pass, max_steps=job.warm_up + job.steps, learning_rate=1e-4,
        lr_scheduler_type="constant", train_sampling_strategy="sequential", adam_beta2=0.98, max_grad_norm=1.0, weight_decay=0.0, seed=0,
        use_cpu=job.where == "cpu", bf16=True, gradient_checkpointing=job.system == "TRL", max_length=None, logging_steps=1,
        save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip


class _Tokenizer:
    @staticmethod
    def made(job: GpuJob) -> Any:
        """A tokenizer that only has to be there: the documents are token ids already."""
        from tokenizers import Tokenizer, models

        words = {f"t{number}": number for number in range(job.config["vocab_size"])}
        inner = Tokenizer(models.WordLevel(words, unk_token="t0"))
        return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="t0", pad_token="t0", unk_token="t0")


def main(path: Path) -> None:
    """Print the measurement as JSON."""
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:  # the answer alone goes to stdout
        result = measure(GpuJob.load(path), folder)
    print(result)
