"""What methods train, counted from shapes alone: as attaching counts it, by shares, against print, and what is refused."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from codetune.config import (
    METHOD_NAMES,
    BitFitConfig,
    BottleneckConfig,
    DoraConfig,
    Ia3Config,
    LnTuningConfig,
    LoraConfig,
    LoraPlusConfig,
    LoraSettings,
    MethodConfig,
    PissaConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PTuningConfig,
    QloraConfig,
    RsLoraConfig,
    Sized,
    VeraConfig,
)
from codetune.errors import UserError
from codetune.methods import attach
from codetune.methods.refusals import refusal
from codetune.models.families import targets_of
from codetune.models.outline import Outline, outline_of, sized, trained_parameters
from tests.exactness.tiny import METHODS, PAIRS, tiny

VARIANTS: list[MethodConfig] = [
    LoraConfig(lora_rank=2, dora=True, target_modules=("q_proj", "down_proj")), VeraConfig(vera_rank=3, target_modules=("k_proj",)),
    BottleneckConfig(bottleneck_size=2, placement="pfeiffer"), PTuningConfig(num_virtual_tokens=2, encoder="lstm", encoder_hidden_size=5),
]  # fmt: skip


def meta(config: Any) -> Outline:
    with torch.device("meta"):
        return outline_of(transformers.AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize(("family", "method"), [*((f, METHODS[m]) for f, m in PAIRS), *(("mistral", method) for method in VARIANTS)])
def test_what_is_counted_is_what_trains(family: str, method: MethodConfig) -> None:
    model, _ = tiny(family)
    outline = meta(model.config)
    assert outline == outline_of(model)
    trainable, total = attach(model, method, targets_of(model), [7], 0).trainable_share()
    assert trained_parameters(outline, method) == trainable
    if method.name not in ("full", "bitfit", "p_tuning"):  # these train what was there, or make more than is kept
        assert total == outline.parameters + trainable


SIZED: list[Sized] = [
    LoraConfig(trainable_share=0.3), RsLoraConfig(trainable_share=0.3), DoraConfig(trainable_share=0.3),
    BottleneckConfig(trainable_share=0.2), PrefixTuningConfig(trainable_share=0.1), PromptTuningConfig(trainable_share=0.1),
]  # fmt: skip


@pytest.mark.parametrize("method", SIZED, ids=lambda method: method.name)
@pytest.mark.parametrize("family", ["gpt2", "mistral"])
def test_a_share_is_the_largest_size_within_it(family: str, method: Any) -> None:
    outline = meta(tiny(family)[0].config)
    found: Any = sized(method, outline)
    size = getattr(found, method.size_key)
    larger = found.model_copy(update={method.size_key: size + 1})
    assert trained_parameters(outline, found) <= method.trainable_share * outline.parameters < trained_parameters(outline, larger)
    assert found.trainable_share is None
    assert sized(found, outline) is found
    if isinstance(found, LoraSettings):  # at rank 16 and alpha 32 the scale is 2, or 8 by the square root
        assert found.lora_alpha / (math.sqrt(16) if found.rslora else size) == (8 if found.rslora else 2)


def test_a_share_too_small_for_size_1() -> None:
    wanted = r"trainable_share 0\.0001: lora with lora_rank 1 has 768 parameters, 0\.062 of the model's"
    with pytest.raises(UserError, match=wanted) as caught:
        sized(LoraConfig(trainable_share=1e-4), meta(tiny("gpt2")[0].config))
    assert "\n" not in str(caught.value)


def test_all_methods_there_are_can_be_counted() -> None:
    assert {method.name for method in METHODS.values()} | {"qlora"} == set(METHOD_NAMES)


@pytest.mark.parametrize("family", ["llama", "mistral", "falcon"])
def test_bitfit_needs_biases(family: str) -> None:
    model, _ = tiny(family)
    with pytest.raises(UserError, match=r"this model's linear layers have none; .*use method ln_tuning") as caught:
        attach(model, BitFitConfig(), targets_of(model), [], 0)
    assert "\n" not in str(caught.value)
    assert refusal(BitFitConfig(), targets_of(tiny("gpt2")[0])) == ""


def test_what_an_unknown_family_cannot_have() -> None:
    """OPT is in no table of ours: what needs no names works, what needs them says what would do."""
    config = transformers.OPTConfig(
        vocab_size=61, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64,
        word_embed_proj_dim=16,
    )  # fmt: skip
    targets = meta(config).targets
    assert "not known here: use method vera or lora" in refusal(Ia3Config(), targets)
    assert "not known here: use method lora" in refusal(BottleneckConfig(), targets)
    assert all(refusal(method, targets) == "" for method in (LoraConfig(), VeraConfig(), LnTuningConfig(), BitFitConfig()))


def test_norms_without_weights() -> None:
    config = transformers.OlmoConfig(
        vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4, pad_token_id=0
    )
    assert refusal(LnTuningConfig(), meta(config).targets).endswith("this model's norms have none: use method lora")


PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
SHAPES: dict[str, Any] = {
    "GPT-2 124M": transformers.GPT2Config(), "GPT-2 355M": transformers.GPT2Config(n_embd=1024, n_layer=24, n_head=16),
    "GPT-2 774M": transformers.GPT2Config(n_embd=1280, n_layer=36, n_head=20),
    "GPT-2 1.6B": transformers.GPT2Config(n_embd=1600, n_layer=48, n_head=25),
    "CodeLlama-7B": transformers.LlamaConfig(vocab_size=32016),  # the other defaults are the 7B shape
    "Mistral-7B": transformers.MistralConfig(),
}  # fmt: skip
DEFAULTS: dict[str, MethodConfig] = {
    "lora": LoraConfig(), "rslora": RsLoraConfig(), "dora": DoraConfig(), "pissa": PissaConfig(), "lora_plus": LoraPlusConfig(),
    "qlora": QloraConfig(), "vera": VeraConfig(), "ia3": Ia3Config(), "bottleneck": BottleneckConfig(),
    "bottleneck`, `pfeiffer": BottleneckConfig(placement="pfeiffer"), "ln_tuning": LnTuningConfig(), "prefix_tuning": PrefixTuningConfig(),
    "prompt_tuning": PromptTuningConfig(), "p_tuning": PTuningConfig(),
}  # fmt: skip


@functools.cache
def shape(name: str) -> Outline:
    return meta(SHAPES[name])


def percent(outline: Outline, method: MethodConfig) -> float:
    """Trained over base plus adapter, as PEFT prints it."""
    trained = trained_parameters(outline, method)
    return 100 * trained / (outline.parameters + (0 if method.name == "bitfit" else trained))


def cells(first: str) -> list[str]:
    """Of the page's first table row that begins so."""
    row = next(line for line in PAGE if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("method", DEFAULTS)
def test_the_pages_shares_are_those_of_the_shapes(method: str) -> None:
    assert cells(f"`{method}`")[2].startswith(f"{percent(shape('CodeLlama-7B'), DEFAULTS[method]):#.3g}%")


def test_the_pages_other_shares() -> None:
    assert f"GPT-2: {percent(shape('GPT-2 124M'), BitFitConfig()):#.3g}%" in cells("`bitfit`")[2]
    assert f"`lstm`: {percent(shape('CodeLlama-7B'), PTuningConfig(encoder='lstm')):#.3g}%" in cells("`p_tuning`")[2]


@pytest.mark.parametrize("name", SHAPES)
def test_published_shares_beside_those_of_the_shapes(name: str) -> None:
    """What is computed is what the page says, and what was printed agrees with it unless the page marks it as another."""
    _, *columns = cells(name)
    compared = (LoraConfig(), PrefixTuningConfig(), PromptTuningConfig())
    for method, printed, computed in zip(compared, columns[::2], columns[1::2], strict=True):
        found, digits = percent(shape(name), method), len(computed.strip("*").split(".")[1])
        assert computed.strip("*") == f"{found:.{digits}f}"
        if printed and printed != "garbled":
            assert (abs(float(printed) - found) < 0.006) == ("*" not in computed)


def test_the_one_published_share_that_another_target_explains() -> None:
    assert f"{percent(shape('GPT-2 124M'), LoraConfig(target_modules=('c_attn',))):.2f}" == "0.47"
    outline = shape("GPT-2 124M")
    assert f"{100 * trained_parameters(outline, PrefixTuningConfig()) / outline.parameters:.3f}" == "0.296"  # of the base alone
