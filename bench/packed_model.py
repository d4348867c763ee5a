"""What the benchmark of packed soft prompts trains: GPT-2's shape with random weights, the adapters' starts, CoNaLa's pairs as ids."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from bench.material import STYLE, attach_method, prompt_length, random_model
from codetune.data.encode import encode_all
from codetune.data.tokenise import collect
from codetune.models.load import load_model, no_dropout
from codetune.prompts.template import make_template
from codetune.records import Problem


@dataclass(frozen=True, slots=True)
class PackedModel:
    """`folder/model` in float32 without dropout, `folder/<method>` for each start, and the pairs in a fixed random order."""

    name: str
    tokenizer: str
    folder: Path
    ids: list[list[int]]
    prompt_lengths: list[int]
    start_ids: list[int]


def make_packed_model(
    folder: Path, methods: Sequence[str], problems: Sequence[Problem], tokenizer: Path | None, tiny: bool
) -> PackedModel:
    """With the tokenizer of that folder, else with one trained on pairs that ship with codetune."""
    transformers.utils.logging.disable_progress_bar()
    model = folder / "model"
    config = transformers.GPT2Config(n_layer=2, n_embd=64, n_head=4) if tiny else transformers.GPT2Config()
    if tokenizer is None:
        random_model(config, model)
    else:
        torch.manual_seed(0)
        no_dropout(config)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(model)
        for file in tokenizer.glob("*.json"):
            if file.name != "config.json":
                shutil.copy(file, model / file.name)
        for file in tokenizer.glob("*.txt"):
            shutil.copy(file, model / file.name)
    loaded = load_model(str(model))
    rendered = [make_template(STYLE).render(problem) for problem in problems]
    examples = collect(encode_all(rendered, loaded.tokenizer))
    order = list(range(len(examples)))
    random.Random(0).shuffle(order)
    start_ids = examples.example(0)[: prompt_length(examples, 0)].tolist()
    for method in methods:
        attach_method(load_model(str(model)), method, start_ids).save(folder / method)
    return PackedModel(
        f"{'tiny ' if tiny else ''}GPT-2, {loaded.model.num_parameters() / 1e6:.1f}M parameters, random weights",
        "GPT-2's tokenizer" if tokenizer else "a tokenizer of 2,048 trained on `basics`", folder,
        [examples.example(i).tolist() for i in order], [prompt_length(examples, i) for i in order], start_ids,
    )  # fmt: skip
