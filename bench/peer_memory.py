"""Peak memory of two training steps of TRL's SFTTrainer with PEFT, on random weights of a true shape. Runs in the peers' environment.

    bench/.venv-peers/bin/python -m bench.host --once bench.peer_memory job.json        as bench/parts.py runs it

SFTConfig's defaults but for what makes it the same step (rows, tokens, no warm-up) and what a part names. Weights are in the type that a
part names, made on the device; PEFT's are in fp32, as it has them. The answer is one JSON object on stdout.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import peft
import tokenizers
import torch
import transformers
import trl

ALL_LINEAR, RANK, VIRTUAL = "all-linear", 16, 20


class Watch(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
    """The peak from when training begins, as codetune's dry run has it, and what the last step took."""

    def __init__(self, where: str) -> None:
        self.where, self.loaded, self.at = where, 0, [time.perf_counter()]
        self.cpu_at = [time.process_time()]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        reset_peak(self.where)
        self.loaded = held(self.where)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.where == "cuda":
            torch.cuda.synchronize()
        self.at.append(time.perf_counter())
        self.cpu_at.append(time.process_time())


def measure(job: dict[str, Any], scratch: str) -> dict[str, Any]:
    """Two steps; whatever TRL raises is the caller's to report."""
    where = job["where"]
    before = held(where)
    if job["cap_bytes"] and where == "cuda":
        torch.cuda.set_per_process_memory_fraction(job["cap_bytes"] / torch.cuda.get_device_properties(0).total_memory)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    watch = Watch(where)
    model = model_of(job)
    rows = rows_of(job)
    trainer = trl.SFTTrainer(
        model=model, args=arguments(job, scratch), train_dataset=rows, processing_class=tokenizer(), callbacks=[watch],
        peft_config=adapter_of(job),
    )  # fmt: skip
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return {
        "peak": peak(where), "reserved": torch.cuda.max_memory_reserved() if where == "cuda" else 0, "before": before,
        "loaded": watch.loaded, "seconds": watch.at[-1] - watch.at[-2], "cpu_seconds": watch.cpu_at[-1] - watch.cpu_at[-2],
        "tokens": job["rows"] * job["tokens"], "losses": losses, "trained": trained,
    }  # fmt: skip


def model_of(job: dict[str, Any]) -> Any:
    """Random weights, on the device at once."""
    config = transformers.AutoConfig.for_model(job["config"]["model_type"]).from_dict(job["config"])
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    torch.manual_seed(0)
    with torch.device(job["where"]):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, job["dtype"]))


def adapter_of(job: dict[str, Any]) -> Any:
    match job["method"]:
        case "lora":
            return peft.LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules=ALL_LINEAR, lora_dropout=0.0)
        case "prefix_tuning":
            return peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL, **heads(job["config"]))
        case "prompt_tuning":
            return peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL)
    return None


def heads(config: dict[str, Any]) -> dict[str, int]:
    """Falcon's one head of keys and values, which PEFT does not see."""
    if not config.get("multi_query"):
        return {}
    return {"num_attention_heads": 1, "token_dim": config["hidden_size"] // config["num_attention_heads"]}


def rows_of(job: dict[str, Any]) -> Any:
    """Rows of random tokens, all of them targets but the first."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, job["config"]["vocab_size"], (2 * job["rows"], job["tokens"]), generator=generator).tolist()
    return datasets.Dataset.from_dict({"input_ids": ids, "labels": ids})


def arguments(job: dict[str, Any], scratch: str) -> Any:
    on_cpu = job["where"] == "cpu"
    return trl.SFTConfig(
        output_dir=scratch, per_device_train_batch_size=job["rows"], gradient_accumulation_steps=1, max_steps=2,
        learning_rate=1e-5, bf16=job["precision"] == "bf16", gradient_checkpointing=job["checkpointing"], max_length=None, use_cpu=on_cpu,
        logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, seed=0, dataloader_pin_memory=not on_cpu,
    )  # fmt: skip


def tokenizer() -> Any:
    """Something with a padding token: the rows are tokens already."""
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<pad>": 0, "<eos>": 1, "<unk>": 2}, unk_token="<unk>"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


def held(where: str) -> int:
    """Bytes now: of the GPU's allocator, or resident."""
    return int(torch.cuda.memory_allocated()) if where == "cuda" else status("VmRSS")


def peak(where: str) -> int:
    return int(torch.cuda.max_memory_allocated()) if where == "cuda" else status("VmHWM")


def reset_peak(where: str) -> None:
    if where == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def main(path: Path) -> None:
    """Print the measurement as JSON."""
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as scratch:  # the answer alone goes to stdout
        result = measure(json.loads(path.read_text()), scratch)
    print(json.dumps(result))
