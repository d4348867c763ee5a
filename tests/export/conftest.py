"""Tiny random models of each family in folders, with a tokenizer, and adapters on them made by plain PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from codetune.data.base_corpus import save_tokenizer
from codetune.models.families import linear_layers
from tests.cli.conftest import VOCABULARY, _tokenizer
from tests.exactness.tiny import config_of

POSITIONS = 256


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, made once."""
    made: dict[str, Path] = {}

    def find(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("models") / family
            save_tokenizer(_tokenizer(), folder)
            config = config_of(family)
            config.update({"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "eos_token_id": 0, "bos_token_id": None})
            torch.manual_seed(0)
            model = transformers.AutoModelForCausalLM.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 2:
                        parameter.normal_(0, 0.2)
            model.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return find


def adapter_on(model_folder: Path, folder: Path, **settings: Any) -> Path:
    """A random adapter of PEFT's own making: LoRA on all linear layers unless `settings` has a `config`."""
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder)
    lora: dict[str, Any] = {"r": 3, "lora_alpha": 6, "target_modules": linear_layers(model), "init_lora_weights": False}
    config = settings.pop("config", None) or peft.LoraConfig(
        task_type="CAUSAL_LM", fan_in_fan_out=model.config.model_type == "gpt2", **(lora | settings)
    )
    torch.manual_seed(1)
    peft.get_peft_model(model, config).save_pretrained(folder, save_embedding_layers=False)
    return folder
