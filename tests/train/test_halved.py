"""A base that is loaded with its frozen matrices in bf16 is, method and all, the one that is loaded in float32 and halved then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from codetune.config import TrainRecipe
from codetune.methods import Adapted, attach
from codetune.models.families import targets_of
from codetune.models.load import halve, load_model, stored_in_bf16
from codetune.train.checks import probe_batch, probe_logits
from codetune.train.finetune import finetune
from codetune.train.material import prepare
from codetune.train.precision import autocast, loading, narrow, to_be_frozen
from codetune.train.subject import let_go
from tests.exactness.tiny import METHODS, PAIRS, tiny
from tests.exactness.wide import saved, wide_config

ADAPTERS = [pair for pair in PAIRS if pair[1] != "full"]


def bits(adapted: Adapted) -> dict[str, torch.Tensor]:
    return dict(adapted.root.named_parameters()) | dict(adapted.root.named_buffers())


def require_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(("family", "method"), ADAPTERS)
def test_halved_first_is_halved_last(family: str, method: str) -> None:
    """What each method starts from, text keys and values and PiSSA's halves included, and what stays in float32, tied heads and all."""
    made = []
    for first in (False, True):
        model, _ = tiny(family, torch.bfloat16)
        model.float()
        if first:
            halve(model, to_be_frozen(METHODS[method], model))
            head_alone = family in ("llama", "mistral")  # DoRA measures the rest; elsewhere the head is the embedding
            assert any(parameter.dtype == torch.bfloat16 for parameter in model.parameters()) == (method != "dora" or head_alone)
        adapted = attach(model, METHODS[method], targets_of(model), [3, 1, 4], 0)
        narrow(adapted, "bf16")
        made.append(bits(adapted))
    require_same(*made)


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def bases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same random model as it is published in bf16, in shards, and in float32 with weights that bf16 does not hold."""
    torch.manual_seed(0)
    own = {"n_positions": 512} if request.param == "gpt2" else {"max_position_embeddings": 512}
    model = transformers.AutoModelForCausalLM.from_config(wide_config(request.param, vocab_size=8192, **own))
    full = saved(model, tmp_path_factory.mktemp("fp32"))
    narrow_one = saved(model.to(torch.bfloat16), tmp_path_factory.mktemp("bf16"))
    (narrow_one / "model.safetensors").unlink()
    model.save_pretrained(narrow_one, max_shard_size="1MB")
    return {"fp32": full, "bf16": narrow_one}


def recipe(base: Path, method: Any, **train: Any) -> TrainRecipe:
    budget = {"train_tokens": 1200, "batch_tokens": 400, "max_seq_len": 200, "validations": 1, "precision": "bf16"}
    data = {"source": "basics", "max_examples": 12, "validation_examples": 4}
    kept = {"name": "x", "model": str(base), "data": data, "method": method, "train": budget | train, "device": "cpu"}
    return TrainRecipe.model_validate(kept)


@pytest.mark.parametrize("stored", ["fp32", "bf16"])
def test_loaded_in_bf16_is_loaded_in_float32_and_halved(stored: str, bases: dict[str, Path]) -> None:
    """Weights, buffers, hash, and logits under autocast, which are those of the whole base in float32."""
    asked = recipe(bases[stored], "lora")
    assert stored_in_bf16(str(bases[stored])) == (stored == "bf16")
    found, whole = load_model(asked.model, **loading(asked)), load_model(asked.model, **loading(asked, whole=True))
    assert (found.model_hash, found.weights_format) == (whole.model_hash, "fp32")
    assert {parameter.dtype for parameter in whole.model.parameters()} == {torch.float32}
    probe = probe_batch(prepare(asked, found).examples)
    with autocast(asked.train, torch.device("cpu")):
        logits = [probe_logits(Adapted(one.model, "base"), one.family, probe) for one in (found, whole)]
    assert torch.equal(*logits)
    halve(whole.model, to_be_frozen(asked.method, whole.model))
    require_same(bits(Adapted(found.model, "base")), bits(Adapted(whole.model, "base")))


def test_what_no_file_has_is_made_in_float32(tmp_path: Path) -> None:
    """Gemma multiplies its embeddings by the root of their width, 14.14 here, a buffer that would be rounded with the weights."""
    shape = {"vocab_size": 8192, "hidden_size": 200, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = transformers.GemmaConfig(**shape, num_key_value_heads=4, head_dim=16)
    folder = saved(transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16), tmp_path)
    model = load_model(str(folder), **loading(recipe(folder, "lora"))).model
    assert float(model.model.embed_tokens.embed_scale) == pytest.approx(200**0.5, rel=1e-7)
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["lora", "dora", "pissa", "vera", "ia3", "bottleneck", "ln_tuning", "prefix_tuning", "p_tuning"])
def test_runs_on_a_halved_base_prove_themselves(method: str, bases: dict[str, Path], tmp_path: Path) -> None:
    checks = finetune(recipe(bases["bf16"], method), tmp_path)["checks"]
    assert checks["reload_difference"] == checks["unmoved_trainable_tensors"] == checks["moved_frozen_tensors"] == 0
    assert checks["adapter_effect"] > 0


def test_a_model_that_is_let_go_holds_nothing() -> None:
    """Whoever has it still: the base is loaded anew for the reload check, and would lie in memory twice."""
    model, _ = tiny("gpt2", torch.float32)
    adapted = attach(model, METHODS["lora"], targets_of(model), [1], 0)
    weight = model.transformer.h[0].mlp.c_fc.base_layer.weight
    let_go(adapted)
    assert weight.untyped_storage().nbytes() == 0
    assert sum(tensor.numel() for tensor in bits(adapted).values()) == 0
