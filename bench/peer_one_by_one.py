"""transformers' `generate`, one prompt at a time, as a first server would do it. Reads a job from stdin; run by bench/serving.py."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from codetune.data.encode import encode_prompt
from codetune.models.load import load_model
from codetune.prompts.template import make_template
from codetune.records import Problem


@torch.inference_mode()
def main(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds for all prompts, tokenising and decoding included, after one that is not counted."""
    loaded = load_model(job["model"])
    loaded.model.set_attn_implementation("sdpa")  # transformers' own
    model: Any = loaded.model
    if job["adapter"]:
        import peft

        model = peft.PeftModel.from_pretrained(model, job["adapter"])
    model.eval()
    template = make_template("instruction")
    texts, tokens, started = list[str](), 0, 0.0
    for number, prompt in enumerate([job["prompts"][0], *job["prompts"]]):
        if number == 1:
            texts, tokens, started = [], 0, time.perf_counter()
        ids = encode_prompt(template.prompt(Problem("", instruction=prompt)), loaded.tokenizer)
        eos = loaded.tokenizer.eos_id
        out = model.generate(
            input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False,
            max_new_tokens=job["max_new_tokens"], eos_token_id=eos, pad_token_id=eos,
        )  # fmt: skip
        made = out[0, len(ids) :].tolist()
        tokens += len(made)
        texts.append(loaded.tokenizer.decode_after(ids, made).partition("\n### ")[0])
    return {"seconds": time.perf_counter() - started, "tokens": tokens, "texts": texts}


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
