"""What every system of the training benchmark is given: one model folder, the same token ids, the same adapter starts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from codetune.config import FullConfig, LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig
from codetune.data.base_corpus import save_tokenizer, train_tokenizer
from codetune.data.corpus import Corpus
from codetune.data.sources import load_source
from codetune.data.tokenise import TokenisedExamples
from codetune.data.training import Maker, tokenise_documents
from codetune.methods import Adapted, attach
from codetune.models.families import targets_of
from codetune.models.load import LoadedModel, load_model, no_dropout
from codetune.models.names import SHIPPED
from codetune.prompts.template import make_template
from codetune.records import Document

GPT2_SHAPE, TINY = "gpt2-shape", "tiny"
STYLE = "instruction"
METHODS: dict[str, MethodConfig] = {
    "full": FullConfig(),
    "lora": LoraConfig(lora_rank=8, lora_alpha=16),
    "prefix_tuning": PrefixTuningConfig(num_virtual_tokens=20),
    "prompt_tuning": PromptTuningConfig(num_virtual_tokens=20),
}


@dataclass(frozen=True, slots=True)
class Base:
    """The model that all systems start from, saved in float32 with dropout 0, and the adapters' starts by method."""

    name: str
    parameters: int
    model: Path
    adapters: dict[str, Path]
    examples: TokenisedExamples
    start_ids: list[int]  # what soft prompts start from


def default_model() -> str:
    """The model that ships with codetune; a tiny random one where this checkout does not have it yet."""
    return "codetune-base" if (SHIPPED["codetune-base"] / "config.json").exists() else TINY


def make_base(name: str, methods: list[str], row_tokens: int, folder: Path) -> Base:
    """Save model, tokenizer and adapter starts under the folder. Raises UserError for a model that cannot be had."""
    transformers.utils.logging.disable_progress_bar()
    if name in (GPT2_SHAPE, TINY):
        random_model(transformers.GPT2Config() if name == GPT2_SHAPE else _tiny_config(), folder / "random")
    loaded = load_model(str(folder / "random") if name in (GPT2_SHAPE, TINY) else name)
    model = folder / "model"
    loaded.model.save_pretrained(model)
    loaded.tokenizer.inner.save_pretrained(model)
    examples = _pairs(loaded, row_tokens)
    start_ids = examples.example(0)[: prompt_length(examples, 0)].tolist()
    adapters = {method: folder / method for method in methods if method != "full"}
    for method, start in adapters.items():
        attach_method(load_model(str(model)), method, start_ids).save(start)
    return Base(name, loaded.model.num_parameters(), model, adapters, examples, start_ids)


def attach_method(loaded: LoadedModel, method: str, start_ids: list[int]) -> Adapted:
    """A method of the benchmark on a model, with the same start each time: soft prompts from a text, LoRA from seed 0."""
    return attach(loaded.model, METHODS[method], targets_of(loaded.model), start_ids, 0)


def take(examples: TokenisedExamples, timed_tokens: int, examples_per_step: int) -> tuple[list[list[int]], list[int]]:
    """Token ids and prompt lengths for one step of warm-up and whole steps of at least `timed_tokens` text tokens after it.

    In a fixed random order, from the start again after the last example.
    """
    order = list(range(len(examples)))
    random.Random(0).shuffle(order)
    chosen: list[int] = []
    left = timed_tokens
    while left > 0:
        step = [order[(len(chosen) + i) % len(order)] for i in range(examples_per_step)]
        left -= int(examples.lengths[step].sum()) if chosen else 0
        chosen += step
    return [examples.example(i).tolist() for i in chosen], [prompt_length(examples, i) for i in chosen]


def prompt_length(examples: TokenisedExamples, index: int) -> int:
    """How many tokens of a pair come before the first that counts for the loss."""
    return int(np.argmax(examples.targets(index)))


def _pairs(loaded: LoadedModel, row_tokens: int) -> TokenisedExamples:
    """The training pairs of `basics` in codetune's own template."""
    return tokenise_documents((tuple(map(Document.of, load_source("basics"))),), Maker(make_template(STYLE), loaded.tokenizer, row_tokens))


def random_model(config: transformers.PretrainedConfig, folder: Path, vocabulary: int = 2048) -> None:
    """Random weights of a known shape, with a tokenizer trained on the pairs themselves."""
    template = make_template(STYLE)
    texts = [template.render(problem).text for problem in load_source("basics")]
    save_tokenizer(train_tokenizer(Corpus(pairs=texts), vocabulary, 0), folder)
    no_dropout(config)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _tiny_config() -> transformers.LlamaConfig:
    return transformers.LlamaConfig(
        vocab_size=2048, hidden_size=64, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
