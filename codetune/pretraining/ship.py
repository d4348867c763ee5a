"""Turn the finished pre-training run into the model that ships in the package: bf16 weights, tokenizer, manifest, model card.

    python -m codetune.pretraining.ship runs/base-model              into the package
    python -m codetune.pretraining.ship runs/base-model DIR          into a folder
    python -m codetune.pretraining.ship --card codetune/assets/codetune-base    the card alone, from the records beside it
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from codetune.data.prepared.read import MANIFEST
from codetune.models.load import load_model
from codetune.models.names import SHIPPED
from codetune.records import Json
from codetune.runs import read_json, write_json
from codetune.train.finetune import RESULT
from codetune.train.subject import ADAPTER

TRAINING, SCORES = "training.json", "score_card.json"  # beside the weights: what the card is made of, besides the manifest

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
{loop}
{scores}## Data
The Python standard library and {packages} installed packages whose metadata says MIT, BSD, Apache, ISC or PSF, in random
order{epochs}:

| | tokens prepared |
|---|---|
{kinds}

All in codetune's prompt styles but the files.{infilling} `manifest.json` has every package's name, version, licence and hash. Left out:
{left_out}. A file that shares 13 consecutive words with a problem of {benchmarks} was left out whole. One file in 200, chosen by its
hash, is held out with its pairs.

Rebuild it with `make {name}`; the recipe is `recipes/{name}.yaml`.

## Limits
{parameters:,} parameters and {tokens:,} tokens: it knows the shape of Python, not its uses. It may repeat short pieces of its training
data. Do not use what it writes without running it in a sandbox.
"""


def ship(run: Path, target: Path, record: Json | None = None, data: Path | None = None) -> None:
    """Write the model of a pre-training run into a folder; `record` is what else is known of the training (its ladder, its machine), `data`
    the corpus' folder where it is not in the run's."""
    manifest = read_json((data or run / "data") / MANIFEST)
    training = {"config": read_json(run / "config.json"), "summary": read_json(run / RESULT), "record": record or {}}
    if target.exists():
        shutil.rmtree(target)
    loaded = load_model(str(run / ADAPTER))
    training["parameters"] = sum(p.numel() for p in loaded.model.parameters())
    loaded.model.to(torch.bfloat16).save_pretrained(target)
    loaded.tokenizer.inner.save_pretrained(target)
    (target / "model.safetensors").chmod(0o644)
    write_json(target / MANIFEST, manifest)
    write_json(target / TRAINING, training)
    write_card(target)


def write_card(folder: Path) -> None:
    """The model card of a folder that `ship` wrote, from the records in it."""
    scores = read_json(folder / SCORES) if (folder / SCORES).exists() else None
    text = card(read_json(folder / TRAINING), read_json(folder / MANIFEST), scores)
    (folder / "README.md").write_text(text, encoding="utf-8")


def card(training: Json, manifest: Json, scores: Json | None = None) -> str:
    """The model card, every figure from the run's own records."""
    summary, config = training["summary"], training["config"]
    shape = config["architecture"]
    held_out = summary["last_val_loss"]  # of the last weights, which are the ones kept
    epochs = summary["tokens"] / manifest["train_tokens"]
    holes = manifest.get("infilling", {"rate": 0})
    return CARD.format(
        layers=shape["num_layers"], width=shape["hidden_size"], heads=shape["num_heads"], positions=shape["max_positions"],
        parameters=training["parameters"], vocabulary=shape["vocab_size"], name=config["name"],
        row_tokens=config["train"]["max_seq_len"], tokens=summary["tokens"], last_loss=summary["last_loss"], held_out=held_out,
        packages=len(manifest["packages"]) - 1, held_out_bytes=manifest["held_out_bytes"],
        bits_per_byte=held_out * manifest["held_out_targets"] / math.log(2) / manifest["held_out_bytes"],
        kinds="\n".join(f"| {KINDS[kind]} | {tokens:,} |" for kind, tokens in manifest["tokens_by_kind"].items()),
        benchmarks=", ".join(manifest["decontaminated_against"]),
        left_out="; ".join(f"{count:,} ({why})" for why, count in sorted(manifest["left_out"].items())),
        epochs=f", read {epochs:.1f} times" if epochs > 1 else ", until the training tokens above were seen",
        infilling=_INFILLING.format(**holes) if holes["rate"] else "", loop=_loop(training),
        scores=f"## Scores\n{table(scores)}\n\n" if scores else "",
    )  # fmt: skip


_INFILLING = " {pieces:,} of {of:,} pieces are written as fill-in-the-middle, with StarCoder's marks."


def _loop(training: Json) -> str:
    """A row on what trained it, where that was noted."""
    record, summary = training["record"], training["summary"]
    if "share_of_matrix_rate" not in record:
        return ""
    speed = f"{summary['tokens_per_s']:,.0f} tokens/s, {100 * record['share_of_matrix_rate']:.1f}% of the bf16 matrix rate"
    return f"| trained | {summary['seconds']:,.0f} s on {record['device']}, {speed} |\n"


def table(scores: Json) -> str:
    """A score card side by side with that of the model it replaces; only what was measured of one of them."""
    columns = [dict(_cells(scores["models"][scores[role]])) for role in ("model", "replaces") if role in scores]
    heads = ["this model", "the one it replaces"][: len(columns)]
    rows = [["", *heads], ["---"] * (1 + len(heads))]
    names = dict.fromkeys(key for each in columns for key in each)
    rows += [[name, *(column.get(name, "not measured") for column in columns)] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(mine: Json) -> Iterator[tuple[str, str]]:
    """Names and figures of one model, in the order of the card."""
    yield "parameters", f"{mine['parameters']:,}"
    if found := mine.get("held_out"):
        yield f"bits per byte, held out, pieces of {found['piece_tokens']} tokens", f"{found['bits_per_byte']:.3f}"
    if found := mine.get("memorised"):
        low, high = found["share_ci95"]
        name = f"continuations of {found['continuation_tokens']} tokens copied from the corpus, of {found['prompts']}"
        yield name, f"{100 * found['share']:.1f}% ({100 * low:.1f} to {100 * high:.1f})"
    for part, found in mine.items():
        if part.startswith("benchmark "):
            for k, how in (("1", "greedy"), ("10", "sampled")):
                value, low, high = (100 * each for each in found[f"pass@{k}"])
                name = f"{part.removeprefix('benchmark ')}, pass@{k}, {how}, {found['prompt_style']}"
                yield name, f"{value:.1f}% ({low:.1f} to {high:.1f})"
    for row, benchmarks in mine.get("study", {}).items():
        for name, found in benchmarks.items():
            yield f"{name}, pass@1, {row}", f"{100 * found['pass@1']:.1f}%"


if __name__ == "__main__":
    if sys.argv[1] == "--card":
        write_card(Path(sys.argv[2]))
    else:
        ship(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else SHIPPED["codetune-base"])
