"""A tiny random model in a folder, as a user has one: a Llama with a tokenizer of its own, good for mechanics, not for answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
import yaml
from tokenizers import decoders, models, pre_tokenizers, trainers

from codetune.data import basics
from codetune.data.base_corpus import END, PAD, save_tokenizer
from codetune.prompts.template import make_template

VOCABULARY = 512
POSITIONS = 256

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "basics", "max_examples": 60, "validation_examples": 10},
    "method": {"name": "lora", "lora_rank": 2, "lora_alpha": 4},
    "train": {"train_tokens": 6000, "batch_tokens": 512, "micro_batch_size": 2, "max_seq_len": 224, "validations": 2},
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tokenizer(_tokenizer(), folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=POSITIONS, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture
def recipe_file(tmp_path: Path, tiny_model: Path) -> Path:
    """A recipe of a dozen steps on the tiny model."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"model": str(tiny_model), "out": str(tmp_path / "run")}))
    return path


@pytest.fixture
def problems_file(tmp_path: Path) -> Path:
    """Two problems of the user's own."""
    add, negate = "def add(a, b):\n    return a + b\n", "def neg(a):\n    return -a\n"
    rows = [
        {"task_id": "own/0", "instruction": "Add: add(a, b).", "reference": add, "tests": ["assert add(1, 2) == 3"]},
        {"task_id": "own/1", "instruction": "Negate: neg(a).", "reference": negate, "tests": ["assert neg(1) == -1"]},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _tokenizer() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False)
    template = make_template("instruction")
    tokenizer.train_from_iterator((template.render(problem).text for problem in basics.load("validation")), trainer)
    return tokenizer
