"""Turn the finished pre-training run into the model that ships in the package: bf16 weights, tokenizer, manifest, model card.

    python -m codetune.train.ship runs/base-model
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from codetune.models.load import load_model
from codetune.models.names import SHIPPED
from codetune.runs import read_json
from codetune.train.finetune import RESULT
from codetune.train.subject import ADAPTER

KINDS = {
    "edits": "edits of functions: rename, change a number, complete",
    "pairs": "(docstring, function) pairs",
    "functions": "the same again in other words, for functions that are no methods",
    "files": "files",
}
CARD = """---
license: apache-2.0
language: code
tags: [python, code, llama]
---
# codetune-base

A very small language model for Python that ships with codetune so that everything can be tried offline on a CPU. It is a
teaching and testing model: it writes plausible Python and little that is right until it is tuned.

| | |
|---|---|
| architecture | Llama (RoPE, RMSNorm, SwiGLU), {layers} layers, width {width}, {heads} heads, tied embeddings |
| parameters | {parameters:,} |
| vocabulary | byte-level BPE, {vocabulary:,} |
| context | {positions} positions; pre-trained on rows of {row_tokens} |
| training tokens | {tokens:,} |
| last training loss | {last_loss:.3f} nats per token |
| held-out loss | {held_out:.3f} nats per token, **{bits_per_byte:.3f} bits per byte** on {held_out_bytes:,} bytes |
| weights | bf16 safetensors |

## Data
The Python standard library and {packages} installed packages whose metadata says MIT, BSD, Apache, ISC or PSF, in random
order, until the training tokens above were seen:

| | tokens prepared |
|---|---|
{kinds}

All in codetune's prompt styles but the files. `manifest.json` has every package's name, version, licence and hash. Left out:
{left_out}. A file that shares 13 consecutive words with a problem of {benchmarks} was left out whole. One file in 200, chosen by its
hash, is held out with its pairs.

Rebuild it with `make base-model`; the recipe is `recipes/base-model.yaml`.

## Limits
{parameters:,} parameters and {tokens:,} tokens: it knows the shape of Python, not its uses. It may repeat short pieces of its training
data. Do not use what it writes without running it in a sandbox.
"""


def ship(run: Path, target: Path) -> None:
    """Write the model of a pre-training run into the package's folder."""
    summary, config = read_json(run / RESULT), read_json(run / "config.json")
    manifest = read_json(run / "data" / "manifest.json")
    if target.exists():
        shutil.rmtree(target)
    loaded = load_model(str(run / ADAPTER))
    loaded.model.to(torch.bfloat16).save_pretrained(target)
    loaded.tokenizer.inner.save_pretrained(target)
    (target / "model.safetensors").chmod(0o644)
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (target / "README.md").write_text(card(summary, config, manifest, loaded))


def card(summary: dict[str, Any], config: dict[str, Any], manifest: dict[str, Any], loaded: Any) -> str:
    """The model card, every figure from the run's own records."""
    shape = config["architecture"]
    held_out = summary["last_val_loss"]  # of the last weights, which are the ones kept
    return CARD.format(
        layers=shape["num_layers"], width=shape["hidden_size"], heads=shape["num_heads"], positions=shape["max_positions"],
        parameters=sum(p.numel() for p in loaded.model.parameters()), vocabulary=shape["vocab_size"],
        row_tokens=config["train"]["max_seq_len"], tokens=summary["tokens"], last_loss=summary["last_loss"], held_out=held_out,
        packages=len(manifest["packages"]) - 1, held_out_bytes=manifest["held_out_bytes"],
        bits_per_byte=held_out * manifest["held_out_targets"] / math.log(2) / manifest["held_out_bytes"],
        kinds="\n".join(f"| {KINDS[kind]} | {tokens:,} |" for kind, tokens in manifest["tokens_by_kind"].items()),
        benchmarks=", ".join(manifest["decontaminated_against"]),
        left_out="; ".join(f"{count:,} ({why})" for why, count in sorted(manifest["left_out"].items())),
    )  # fmt: skip


if __name__ == "__main__":
    ship(Path(sys.argv[1]), SHIPPED["codetune-base"])
