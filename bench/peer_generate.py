"""PEFT's own batched generation, as its users have it: prompts padded on the left, `PeftModel.generate`. Runs in the peers' environment.

    bench/.venv-peers/bin/python -m bench.peer_generate job.json        run by bench/soft_answers.py, bench/generation.py
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import peft
import torch
import transformers


def main(path: Path) -> dict[str, Any]:
    """Each adapter's answers as token ids, EOS included where there is one, with their CPU and wall seconds; or the error that ended it."""
    job: dict[str, Any] = json.loads(path.read_text())
    torch.set_num_threads(job.get("threads", 1))
    transformers.utils.logging.disable_progress_bar()
    found: dict[str, Any] = {}
    for name, folder in job["adapters"].items():
        model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
        try:
            adapted = peft.PeftModel.from_pretrained(model, folder).eval()
            generate(adapted, job["prompts"][:2], 2, 2)  # what is made once is no part of it
            begun, started = time.process_time(), time.perf_counter()
            ids = generate(adapted, job["prompts"], job["max_new_tokens"], job["batch_size"])
            found[name] = {"ids": ids, "cpu_seconds": time.process_time() - begun, "seconds": time.perf_counter() - started}
        except Exception as error:  # whatever PEFT raises is the finding
            found[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return found


@torch.inference_mode()
def generate(model: Any, prompts: list[list[int]], max_new_tokens: int, batch_size: int) -> list[list[int]]:
    """Greedy answers in the prompts' order, which is also the batches'."""
    eos, pad = model.config.eos_token_id, model.config.pad_token_id
    answers: list[list[int]] = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        width = max(map(len, batch))
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in batch])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in batch])
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=eos, pad_token_id=pad
        )
        answers += [upto(row, eos) for row in out[:, width:].tolist()]
    return answers


def upto(ids: list[int], eos: int) -> list[int]:
    """The ids up to the first EOS, it included."""
    return ids[: ids.index(eos) + 1] if eos in ids else ids


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the answer alone goes to stdout
        result = main(Path(sys.argv[1]))
    print(json.dumps(result))
