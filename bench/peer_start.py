"""What a peer starts from: the job's model in float32, with the job's adapter. Runs in the peers' environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
import transformers

from bench.job import Job

NO_LOSS = -100  # the label of a token without a loss


def start(job: Job) -> Any:
    """The base model in float32, with the job's adapter where there is one."""
    model = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    if job.adapter is None:
        return model
    adapter = peft.PeftConfig.from_pretrained(job.adapter)
    adapter.inference_mode = False
    wrapped = peft.get_peft_model(model, adapter)  # PeftModel.from_pretrained refuses trainable soft prompts
    peft.set_peft_model_state_dict(wrapped, safetensors.torch.load_file(Path(job.adapter) / "adapter_model.safetensors"))
    return wrapped
