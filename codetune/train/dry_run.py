"""A few steps of a run on random weights of the model's true shape, in a process of its own: what they hold, and how long one takes.

    python -m codetune.train.dry_run job.json

A process's peak never falls, so what is measured here is true in a child alone (`measured_in_child`). The batch is the run's longest.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from pydantic import TypeAdapter

from codetune.batches import PADDING, Batch
from codetune.config import FullConfig, MethodConfig, TrainConfig
from codetune.data.tokenise import TokenisedExamples, join
from codetune.errors import UserError
from codetune.methods import attach
from codetune.models.attention import use_document_attention
from codetune.models.families import family_of, targets_of
from codetune.models.load import halve, no_dropout
from codetune.models.machine import peak_memory_bytes, reset_peak
from codetune.models.offloading import offload_layers
from codetune.models.outline import without_data
from codetune.models.quantized import random_linears
from codetune.train.gradient import clip_gradients, step_gradient
from codetune.train.in_backward import StepsInBackward
from codetune.train.optimizer import Optimizer, make_optimizer
from codetune.train.plan import Step
from codetune.train.precision import product_dtype, to_be_frozen
from codetune.train.ready import make_ready
from codetune.train.resume import random_state
from codetune.train.run import Material, Run

Documents = list[list[tuple[int, int]]]  # per row its documents: tokens, and how many of the first of them are no targets
_METHOD: TypeAdapter[MethodConfig] = TypeAdapter(MethodConfig)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the steps took. Bytes; of the GPU where there is one, else resident in main memory, libraries included."""

    peak: int  # of the steps
    reserved: int  # what the GPU's allocator took for it; 0 on a CPU
    before: int  # before there was a model
    loaded: int  # with the model, before the first step
    seconds: float  # the fastest step after the first
    tokens: int  # in it
    cpu_seconds: float  # of all threads, for it
    held_after_pass: int  # of the last step, with its gradients, if they are kept
    held_after_step: int  # without them


def measured_in_child(
    config: Any, method: MethodConfig, train: TrainConfig, rows: Documents, where: str, timeout_s: float = 480.0,
    cap_bytes: int = 0,
) -> DryRun:  # fmt: skip
    """Run the steps in a child that may have so much of a GPU's memory, or all. Raises UserError in one line where they do not fit."""
    job = job_of(config, method, train, rows, where, cap_bytes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job))
        try:
            done = subprocess.run([sys.executable, "-m", __name__, str(path)], capture_output=True, text=True, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise UserError(f"the dry run was not done in {timeout_s:.0f} s: take a shorter row or a smaller micro-batch") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"it ended with {done.returncode} (memory?)"]
        raise UserError(f"the dry run failed: {lines[-1][:300]}")
    return DryRun(**json.loads(done.stdout.splitlines()[-1]))


def job_of(
    config: Any, method: MethodConfig, train: TrainConfig, rows: Documents, where: str, cap_bytes: int = 0, steps: int = 2
) -> dict[str, Any]:
    """What the child is told, as JSON."""
    job = {"config": config.to_dict(), "method": method.model_dump(mode="json"), "train": train.model_dump(mode="json")}
    return job | {"rows": rows, "where": where, "cap_bytes": cap_bytes, "steps": steps}


def documents_of(batch: Batch) -> Documents:
    """Lengths of a batch's documents, and how many of the first tokens of each are no targets."""
    rows: Documents = []
    for numbers, targets in zip(batch.documents, batch.targets, strict=True):
        here = [numbers == number for number in numbers.unique().tolist() if number != PADDING]
        rows.append([(int(own.sum()), int(own.sum()) - int((own & targets).sum())) for own in here])
    return rows


def dry_run(config: Any, method: MethodConfig, train: TrainConfig, rows: Documents, where: str, steps: int = 2) -> DryRun:
    """The steps, here, on the device `where`, of which the fastest after the first counts. The process must not have held more before."""
    before = _held(where)
    torch.manual_seed(0)
    no_dropout(config)
    model = random_base(config, method, train, where)
    adapted = attach(model, method, targets_of(model), [1], 0)
    make_ready(adapted, train, where)
    material = _material(rows, config.vocab_size, train, steps)
    run = Run(adapted, family_of(config), material, train, method.learning_rate, Path())
    trained = adapted.trained()
    optimizer = make_optimizer(trained, train, method.learning_rate)
    adapted.root.train()
    gc.collect()
    if where == "cuda":
        torch.cuda.empty_cache()  # what making the weights took is not reserved for the steps
    reset_peak(where)  # from here on, the peak is that of the steps
    loaded = _held(where)
    times: list[tuple[float, float]] = []
    in_backward = StepsInBackward(run, trained, optimizer) if train.optimizer_in_backward else None
    for step in material.steps:
        started, cpu_started = time.perf_counter(), time.process_time()
        tokens, after_pass = _step(run, step, optimizer, in_backward)
        if where == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - started, time.process_time() - cpu_started))
    reserved = torch.cuda.max_memory_reserved() if where == "cuda" else 0
    seconds, cpu_seconds = min(times[1:])
    return DryRun(
        peak_memory_bytes(where), reserved, before, loaded, seconds, tokens, cpu_seconds, after_pass, _held(where)
    )  # fmt: skip


def _step(run: Run, step: Step, optimizer: Optimizer, in_backward: StepsInBackward | None) -> tuple[int, int]:
    """As the loop makes one. Returns its text tokens, and the bytes that were held before the optimiser's turn."""
    where = run.adapted.model.device.type
    if in_backward is not None:
        before = random_state()
        _, _, tokens, _ = in_backward.first_pass(step, lambda loss, norm: "")
        in_backward.finish(step, before)
        return tokens, _held(where)
    _, _, tokens = step_gradient(run, step)
    held = _held(where)
    clip_gradients(run, run.trained())
    optimizer.step()
    optimizer.zero_grad()
    return tokens, held


def random_base(config: Any, method: MethodConfig, train: TrainConfig, where: str) -> Any:
    """As it is loaded: never in more than the precision policy keeps of it, one in 4 bits included."""
    model = without_data(config)
    there = "cpu" if train.offload_frozen_weights else where
    if train.precision == "bf16_weights":
        halve(model, model.parameters())
    if getattr(method, "quantize", "none") == "nf4":
        random_linears(model, product_dtype(train.precision), where)
    elif train.precision == "bf16" and not isinstance(method, FullConfig):
        halve(model, to_be_frozen(method, model))
    for module in model.modules():
        if all(tensor.is_meta for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
            module.to_empty(device=there, recurse=False)
    model.tie_weights()
    if train.offload_frozen_weights:
        _random_matrices(model, where)
    model.init_weights()
    use_document_attention(model)
    if train.offload_frozen_weights:
        offload_layers(model, model, where, train.offload_buffers)
    return model


@torch.no_grad()
def _random_matrices(model: Any, where: str) -> None:
    """Make them on the device, and leave them where they are: on one core seven billion random numbers take a minute."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and parameter.is_floating_point():
            parameter.copy_(torch.randn(parameter.shape, dtype=parameter.dtype, device=where).mul_(0.02))
            parameter._is_hf_initialized = True  # transformers then leaves it alone


def _material(rows: Documents, vocab_size: int, train: TrainConfig, steps: int) -> Material:
    """Steps, each of the micro-batch once, or twice where a step takes several: then gradients are there in the second."""
    documents = [one for row in rows for one in row]
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(vocab_size, (length,), generator=generator).tolist() for length, _ in documents]
    examples: TokenisedExamples = join(ids, [prompt for _, prompt in documents])
    packed, at = [], 0
    for row in rows:
        packed.append([(at + number, 0, length) for number, (length, _) in enumerate(row)])
        at += len(row)
    times = 2 if train.batch_tokens > sum(length for length, _ in documents) else 1
    step = list(range(len(packed))) * times
    return Material(examples, packed, [step] * steps)


def _held(where: str) -> int:
    return int(torch.cuda.memory_allocated()) if where == "cuda" else int(psutil.Process().memory_info().rss)


def main(path: Path) -> None:
    """Print what the job's steps took, as JSON."""
    job = json.loads(path.read_text())
    config = transformers.AutoConfig.for_model(job["config"]["model_type"]).from_dict(job["config"])
    rows = [[(length, prompt) for length, prompt in row] for row in job["rows"]]
    if job["cap_bytes"] and job["where"] == "cuda":
        torch.cuda.set_per_process_memory_fraction(job["cap_bytes"] / torch.cuda.get_device_properties(0).total_memory)
    found = dry_run(config, _METHOD.validate_python(job["method"]), TrainConfig(**job["train"]), rows, job["where"], job["steps"])
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
