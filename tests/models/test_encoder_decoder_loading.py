"""Encoder-decoder models by name: what is loaded, with which marks, and what is refused in a line before weights are read."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from codetune.config import TrainRecipe
from codetune.errors import UserError
from codetune.models.families import Marks, family_of, linear_layers, targets_of
from codetune.models.load import load_model, no_dropout
from codetune.models.outline import load_outline, outline_of
from tests.cli.pair_models import plbart_folder, t5_folder
from tests.exactness.pairs import MODELS, config_of, tiny


@pytest.mark.parametrize(
    ("make", "marks", "start"), [(t5_folder, Marks((2,), (0, 1)), 0), (plbart_folder, Marks((2,), (4,)), None)], ids=["t5", "plbart"]
)
def test_a_folder_is_loaded_with_its_tokenizers_marks(make: Any, marks: Marks, start: int | None, tmp_path: Path) -> None:
    folder = make(tmp_path / "model")
    loaded = load_model(str(folder))
    assert type(loaded.model).__name__.endswith("ForConditionalGeneration")
    assert (loaded.family.encoder_decoder, loaded.family.marks, loaded.stop_ids) == (True, marks, {2})
    assert not any(isinstance(module, torch.nn.Dropout) and module.p for module in loaded.model.modules())
    recipe = TrainRecipe.model_validate({"name": "x", "model": str(folder), "data": {"source": "basics"}})
    outline = load_outline(recipe)
    assert outline.family == loaded.family
    assert outline_of(outline.model).parameters == sum(p.numel() for p in loaded.model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_without_dropout_training_passes_are_the_same(name: str) -> None:
    """T5 has one rate for all; PLBART three, and whole layers that it may drop."""
    config = config_of(name)
    for key in ("dropout_rate", "dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"):
        if hasattr(config, key):
            setattr(config, key, 0.5)
    no_dropout(config)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config).train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model(input_ids=ids, decoder_input_ids=ids).logits, model(input_ids=ids, decoder_input_ids=ids).logits)


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("t5", ["k", "o", "q", "v", "wi", "wo"]),
        ("t5 gated", ["k", "o", "q", "v", "wi_0", "wi_1", "wo"]),
        ("plbart", ["fc1", "fc2", "k_proj", "out_proj", "q_proj", "v_proj"]),
    ],
)
def test_linear_layers_are_all_but_the_head(name: str, layers: list[str]) -> None:
    model, family = tiny(name)
    assert linear_layers(model) == layers
    assert targets_of(model).task_type == "SEQ_2_SEQ_LM"
    assert family.num_layers == 3  # of the decoder; the encoder has 2


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "codet5p"},
        {"model_type": "codet5p", "auto_map": {"AutoConfig": "configuration_codet5p.CodeT5pConfig"}},
        {"model_type": "t5", "architectures": ["CodeT5pEncoderDecoderModel"]},
    ],
)
def test_codet5p_of_2b_and_more_needs_code_that_is_not_run(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="it needs code from its hub page, which codetune does not run") as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_other_encoder_decoder_models_are_refused() -> None:
    with pytest.raises(UserError, match="bart is an encoder-decoder model; of those codetune tunes t5"):
        family_of(transformers.BartConfig())


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_plbarts_tokenizer_says_what_it_needs(tmp_path: Path) -> None:
    folder = plbart_folder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PLBartTokenizer"}))
    (folder / "sentencepiece.bpe.model").touch()
    with pytest.raises(UserError, match=r"its tokenizer needs the package sentencepiece \(pip install sentencepiece\)"):
        load_model(str(folder))
