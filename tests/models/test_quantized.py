"""A base in 4 bits: what is computed is what its weights read back as, in any family, whatever passes through, saved and opened again."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

from codetune.batches import collate, make_rows
from codetune.config import FullConfig, LoraConfig, TrainConfig, TrainPrecision
from codetune.data.tokenise import join
from codetune.errors import UserError
from codetune.methods import Adapted, attach, load_adapter
from codetune.models.families import linear_layers, targets_of
from codetune.models.forward import hidden_states, logits_of, summed_loss
from codetune.models.load import LoadedModel, load_model
from codetune.models.open import open_model
from codetune.models.quantized import settle
from codetune.runs import write_json
from codetune.train.checks import Watch
from codetune.train.optimizer import make_optimizer
from codetune.train.precision import autocast
from tests.exactness.tiny import FAMILIES, VOCAB
from tests.exactness.wide import saved, wide, wide_config

pytest.importorskip("bitsandbytes")
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # plain PEFT's own
LORA = LoraConfig(lora_rank=3, lora_alpha=6)
IDS = [7, 3, 50, 11, 29, 4, 4, 60, 18, 33, 5, 21]  # longer than Mistral's window


def base(family: str, folder: Path, compute: torch.dtype = torch.float32) -> LoadedModel:
    return load_model(str(saved(wide(family)[0], folder)), quantize="nf4", compute=compute)


def with_lora(loaded: LoadedModel) -> Adapted:
    adapted = attach(loaded.model, LORA, targets_of(loaded.model), [], 0)
    adapted.root.train()
    return adapted


def trained(adapted: Adapted, loaded: LoadedModel, precision: TrainPrecision = "fp32") -> None:
    """Three steps, as the loop takes them."""
    rng = np.random.default_rng(3)
    lengths = (4, 19, 9, 12, 25)
    data = join([rng.integers(3, VOCAB, length).tolist() for length in lengths], [1] * len(lengths))
    config = TrainConfig(precision=precision)
    optimizer = make_optimizer(adapted.trained(), config, 2e-2)
    for _ in range(3):
        with autocast(config, torch.device("cpu")):
            loss = summed_loss(adapted, loaded.family, collate(data, make_rows(data, "exact", 40, range(len(data))), "exact"))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def logits(adapted: Adapted, loaded: LoadedModel) -> torch.Tensor:
    adapted.root.eval()
    batch = collate(join([IDS], [0]), [[(0, 0, len(IDS))]], "exact")
    return logits_of(adapted.model, hidden_states(adapted, loaded.family, batch))[0, : len(IDS)]


def read_back(model: Any) -> dict[str, torch.Tensor]:
    """The 4-bit weights as numbers, [outputs, inputs], by layer."""
    from bitsandbytes.functional import dequantize_4bit

    layers = {name: module for name, module in model.named_modules() if hasattr(getattr(module, "weight", None), "quant_state")}
    return {name: dequantize_4bit(module.weight, module.weight.quant_state) for name, module in layers.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_linear_layer_but_the_head_is_in_4_bits_and_near(family: str, tmp_path: Path) -> None:
    """Each weight is off by at most a sixth of the largest in its block (NF4's widest gap is 0.304 of it, from -1 to -0.696)."""
    loaded = base(family, tmp_path)
    found = read_back(loaded.model)
    original, _ = wide(family)
    assert {name.rsplit(".", 1)[-1] for name in found} == set(linear_layers(original))
    for name, weights in found.items():
        wanted = original.get_submodule(name).weight
        wanted = wanted.T if family == "gpt2" else wanted
        largest = wanted.reshape(-1, 64).abs().amax(1)
        error = (weights - wanted).reshape(-1, 64).abs().amax(1)
        assert (error < 0.17 * largest).all(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_with_what_its_weights_read_back_as(family: str, tmp_path: Path) -> None:
    """In training and out of it: the same model in float32 with those numbers in place gives the same logits."""
    loaded = base(family, tmp_path)
    plain, _ = wide(family)
    with torch.no_grad():
        for name, weights in read_back(loaded.model).items():
            plain.get_submodule(name).weight.copy_(weights.T if family == "gpt2" else weights)
    ids = torch.tensor([IDS])
    wanted = plain.eval()(ids).logits
    for mode in (True, False, True):
        loaded.model.train(mode)
        torch.testing.assert_close(loaded.model(ids).logits, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_moves_lora_and_no_bit_of_the_base(family: str, compute: torch.dtype, tmp_path: Path) -> None:
    loaded = base(family, tmp_path, compute)
    adapted = with_lora(loaded)
    watch = Watch.over(adapted)
    trained(adapted, loaded, "bf16" if compute == torch.bfloat16 else "fp32")
    logits(adapted, loaded)
    findings = watch.findings(adapted)
    assert findings["unmoved_trainable_tensors"] == findings["moved_frozen_tensors"] == 0
    assert findings["frozen_tensors"] > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_comes_back_on_the_4_bit_base(family: str, tmp_path: Path) -> None:
    """Bit for bit here, and in plain PEFT's own forward pass; on the base as it was it answers differently, but near."""
    loaded = base(family, tmp_path / "base")
    adapted = with_lora(loaded)
    trained(adapted, loaded)
    adapted.save(tmp_path / "adapter")
    wanted = logits(adapted, loaded)
    again = load_model(str(tmp_path / "base"), quantize="nf4")
    assert torch.equal(logits(load_adapter(again.model, tmp_path / "adapter"), again), wanted)
    plain = peft.PeftModel.from_pretrained(load_model(str(tmp_path / "base"), quantize="nf4").model, str(tmp_path / "adapter")).eval()
    ids = torch.tensor([IDS])
    torch.testing.assert_close(plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].detach(), wanted, rtol=1e-4, atol=1e-4)
    whole = load_model(str(tmp_path / "base"))
    near = logits(load_adapter(whole.model, tmp_path / "adapter"), whole)
    assert not torch.allclose(near, wanted, atol=1e-3)
    assert torch.nn.functional.cosine_similarity(near, wanted, dim=-1).mean() > 0.8


def test_a_run_is_opened_on_the_base_of_its_training_or_as_asked(tmp_path: Path) -> None:
    loaded = base("llama", tmp_path / "base")
    adapted = with_lora(loaded)
    trained(adapted, loaded)
    adapted.save(tmp_path / "run" / "adapter")
    write_json(tmp_path / "run" / "train.json", {"base_format": "nf4", "model_hash": loaded.model_hash})
    wanted = logits(adapted, loaded)
    opened, tuned = open_model(str(tmp_path / "base"), tmp_path / "run")
    assert torch.equal(logits(tuned, opened), wanted)
    opened, tuned = open_model(str(tmp_path / "base"), tmp_path / "run", quantize="none")
    assert tuned.model.get_submodule("model.layers.0.mlp.up_proj").base_layer.weight.dtype == torch.float32
    assert not torch.equal(logits(tuned, opened), wanted)
    other = saved(wide("llama", seed=1)[0], tmp_path / "other")
    with pytest.raises(UserError, match="was tuned on"):
        open_model(str(other), tmp_path / "run")


def test_parameters_are_counted_as_weights_and_not_as_bytes(tmp_path: Path) -> None:
    adapted = with_lora(base("gpt2", tmp_path))
    whole, _ = wide("gpt2")
    plain = attach(whole, LORA, targets_of(whole), [], 0)
    assert adapted.trainable_share() == plain.trainable_share()


def test_a_model_that_blocks_do_not_divide_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    """bitsandbytes' CPU kernel reads such rows back with errors as large as the weights."""
    folder = saved(wide("llama")[0], tmp_path)
    wide_config("llama", intermediate_size=96).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"multiples of 64; model\.layers\.0\.mlp\.down_proj of .* has 96: use method lora"):
        load_model(str(folder), quantize="nf4")


def test_a_layer_that_stayed_in_16_bits_is_refused() -> None:
    model, _ = wide("falcon")
    with pytest.raises(UserError, match=r"nf4 does not reach transformer\.h\.0\.self_attention\.query_key_value of this falcon model"):
        settle(copy.deepcopy(model), torch.float32)


def test_without_the_package_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(wide("llama")[0], tmp_path)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"quantize: nf4 needs bitsandbytes .*pip install 'codetune\[quant\]'"):
        load_model(str(folder), quantize="nf4")
    weight = torch.nn.Parameter(torch.ones(2, 2))
    with pytest.raises(UserError, match=r"optimizer: adamw_8bit needs bitsandbytes .*pip install 'codetune\[quant\]'"):
        make_optimizer({"w": weight}, TrainConfig(optimizer="adamw_8bit"), FullConfig().learning_rate)
