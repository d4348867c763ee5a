"""DESIGN's exactness rule 5: what is saved comes back the same, here and in plain PEFT, and merging changes nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers

from codetune.batches import collate
from codetune.data.tokenise import join
from codetune.errors import UserError
from codetune.methods import Adapted, SoftPrompt, load_adapter
from codetune.models.attention import use_document_attention
from codetune.models.families import Family
from codetune.models.forward import hidden_states, logits_of
from tests.exactness.tiny import FAMILIES, METHODS, PAIRS, adapted_tiny, tiny

pytestmark = [  # plain PEFT's own
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
]

IDS = [7, 3, 50, 11, 29, 4, 4, 60, 18, 33, 5, 21]  # longer than Mistral's window
ADAPTERS = [pair for pair in PAIRS if pair[1] != "full"]
LOADED_AS = {"pissa": "lora", "lora_plus": "lora"}  # what their files are
MERGED = ("lora", "rslora", "dora", "pissa", "lora_plus", "vera", "ia3", "ln_tuning", "bitfit")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # float32 by another order of operations; the logits are of size 10


def made(family: str, method: str) -> tuple[Adapted, Family]:
    """In float32, as models are tuned and saved."""
    return adapted_tiny(family, method, torch.float32)


@torch.no_grad()
def logits(adapted: Adapted, family: Family) -> torch.Tensor:
    """As training and validation see them."""
    adapted.root.eval()
    batch = collate(join([IDS], [0]), [[(0, 0, len(IDS))]], "exact")
    return logits_of(adapted.model, hidden_states(adapted, family, batch))[0, : len(IDS)]


@torch.no_grad()
def stock(model: Any) -> torch.Tensor:
    """As anyone gets them who knows nothing of codetune: ids, and a mask of ones."""
    ids = torch.tensor([IDS])
    out: torch.Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -len(IDS) :]
    return out


@pytest.mark.parametrize(("family", "method"), ADAPTERS)
def test_a_loaded_adapter_is_the_saved_one(family: str, method: str, tmp_path: Path) -> None:
    adapted, facts = made(family, method)
    adapted.save(tmp_path)
    loaded = load_adapter(tiny(family, torch.float32)[0], tmp_path)
    assert loaded.method == LOADED_AS.get(method, method)
    assert (loaded.soft_prompt, loaded.num_virtual_tokens) == (adapted.soft_prompt, adapted.num_virtual_tokens)
    assert not loaded.trained()
    if method not in ("pissa", "p_tuning"):  # whose files have what comes of the trained tensors, not those themselves
        for name, parameter in (adapted.trained() | adapted.frozen()).items():
            assert torch.equal(loaded.frozen()[name], parameter), name
    assert torch.equal(logits(loaded, facts), logits(adapted, facts))


@pytest.mark.parametrize(("family", "method"), ADAPTERS)
def test_plain_peft_gives_the_same_logits(family: str, method: str, tmp_path: Path) -> None:
    """PEFT's own loading and forward pass, prefixes of multi-query attention (Falcon) included."""
    adapted, facts = made(family, method)
    adapted.save(tmp_path)
    plain = peft.PeftModel.from_pretrained(tiny(family, torch.float32)[0], str(tmp_path))
    wanted = logits(adapted, facts)
    torch.testing.assert_close(stock(plain), wanted, **CLOSE)
    assert not torch.allclose(stock(tiny(family, torch.float32)[0]), wanted, atol=0.1), "the adapter does nothing: the test could not fail"


@pytest.mark.parametrize(("family", "method"), [pair for pair in ADAPTERS if pair[1] in MERGED])
def test_a_merged_adapter_is_the_adapter(family: str, method: str, tmp_path: Path) -> None:
    """In memory, and after loading; nothing of the adapter is left in the model."""
    adapted, facts = made(family, method)
    assert adapted.merges
    wanted = logits(adapted, facts)
    adapted.save(tmp_path)
    plain = {name for name, _ in tiny(family)[0].named_parameters()}
    for wrapped in (copy.deepcopy(adapted.peft), load_adapter(tiny(family, torch.float32)[0], tmp_path).peft):
        merged = wrapped.merge_and_unload()
        assert {name for name, _ in merged.named_parameters()} == plain
        torch.testing.assert_close(stock(merged), wanted, **CLOSE)
    assert torch.equal(logits(adapted, facts), wanted)


@pytest.mark.parametrize("method", ["bottleneck", "prefix_tuning", "prompt_tuning", "p_tuning"])
def test_what_cannot_be_merged_says_so(method: str) -> None:
    adapted, _ = made("gpt2", method)
    assert not adapted.merges
    if method == "bottleneck":
        with pytest.raises(ValueError, match="cannot be merged"):
            adapted.peft.merge_and_unload()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_model_comes_back(family: str, tmp_path: Path) -> None:
    adapted, facts = made(family, "full")
    with torch.no_grad():
        for parameter in adapted.trained().values():
            parameter.mul_(1.25)
    adapted.save(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path), attn_implementation="sdpa")
    use_document_attention(loaded)
    assert torch.equal(logits(Adapted(loaded, "full"), facts), logits(adapted, facts))


@pytest.mark.parametrize("method", METHODS)
def test_only_what_is_needed_is_saved(method: str, tmp_path: Path) -> None:
    made("gpt2", method)[0].save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    whole = {"config.json", "generation_config.json", "model.safetensors"}
    assert names == (whole if method == "full" else {"adapter_config.json", "adapter_model.safetensors"})


def test_soft_prompts_are_where_they_say() -> None:
    """Prompt-tuning has rows beside the embeddings, prefix-tuning keys and values of the family's own heads."""
    rows = made("falcon", "prompt_tuning")[0].virtual_embeddings()
    assert rows.shape == (5, 16)
    adapted, facts = made("falcon", "prefix_tuning")
    layers = adapted.virtual_keys_values(facts.kv_heads)
    assert len(layers) == facts.num_layers
    assert {tensor.shape for layer in layers for tensor in layer} == {(1, 5, 4)}
    assert made("llama", "lora")[0].soft_prompt is SoftPrompt.NONE


def test_no_adapter_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no adapter in .*: it has no adapter_config\.json; give the folder"):
        load_adapter(tiny("gpt2")[0], tmp_path)


@pytest.mark.parametrize("damage", ["another model's", "no weights"])
def test_an_adapter_that_does_not_fit(damage: str, tmp_path: Path) -> None:
    made("llama", "lora")[0].save(tmp_path)
    if damage == "no weights":
        (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"the adapter in .* does not fit this model") as caught:
        load_adapter(tiny("gpt2" if damage == "another model's" else "llama", torch.float32)[0], tmp_path)
    assert "\n" not in str(caught.value)
