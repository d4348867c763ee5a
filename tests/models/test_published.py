"""Shapes in the package have as many parameters as their models' pages say; so have methods on them the shares that were printed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from codetune.config import LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig
from codetune.models.names import ALIASES
from codetune.models.outline import Outline, outline_of, trained_parameters
from codetune.models.published import SHAPES, published_config

# Exact counts where print or the safetensors index of the hub page gives them; tied matrices counted once.
COUNTED = {
    "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200,
    "mistral-7b": 7_241_732_096, "codellama-7b": 6_738_546_688, "llama-2-7b": 6_738_415_616, "llama-3-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400, "llama-3.2-3b": 3_212_749_824, "qwen2.5-coder-0.5b": 494_032_768, "qwen2.5-coder-1.5b": 1_543_714_304,
    "qwen2.5-coder-7b": 7_615_616_512, "starcoder2-3b": 3_030_371_328, "phi-2": 2_779_683_840, "phi-1.5": 1_418_270_720,
    "deepseek-coder-1.3b": 1_346_471_936, "falcon-7b": 6_921_720_704,
}  # fmt: skip
# What a name or a page says in words, in billions.
ROUNDED = {
    "codellama-13b": 13.0, "codellama-34b": 33.7, "codegen-350m": 0.357, "codegen-2b": 2.78, "codegen-6b": 7.07, "codegen-16b": 16.1,
    "starcoder2-7b": 7.17, "starcoder2-15b": 15.96, "starcoder": 15.5, "starcoderbase-1b": 1.14, "santacoder": 1.1,
    "qwen2.5-coder-3b": 3.09, "qwen2.5-coder-14b": 14.8, "qwen2.5-coder-32b": 32.8, "deepseek-coder-6.7b": 6.74, "deepseek-coder-33b": 33.3,
    "codet5-small": 0.06, "codet5-base": 0.223, "codet5-large": 0.737, "codet5p-220m": 0.223, "codet5p-770m": 0.737, "plbart-base": 0.14,
}  # fmt: skip


def on_meta(name: str) -> Any:
    config = published_config(name)
    assert config is not None
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config)


@pytest.mark.parametrize("name", COUNTED)
def test_exact_counts(name: str) -> None:
    assert on_meta(name).num_parameters() == COUNTED[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_counts(name: str) -> None:
    assert on_meta(name).num_parameters() / 1e9 == pytest.approx(ROUNDED[name], rel=0.03)


def test_names_and_hub_ids_give_the_same_shape() -> None:
    assert set(SHAPES) <= set(ALIASES)
    by_name, by_id = published_config("gpt2-xl"), published_config("openai-community/gpt2-xl")
    assert by_name is not None
    assert by_id is not None
    assert by_name.to_dict() == by_id.to_dict()
    assert published_config("nobody/nothing") is None


def share(outline: Outline, method: MethodConfig) -> float:
    """In percent, as PEFT prints it: over base plus adapter."""
    trained = trained_parameters(outline, method)
    return 100 * trained / (outline.parameters + trained)


LORA, PREFIX, PROMPT = LoraConfig(lora_rank=16), PrefixTuningConfig(num_virtual_tokens=20), PromptTuningConfig(num_virtual_tokens=20)


@pytest.mark.parametrize(
    ("name", "method", "printed"),
    [
        ("gpt2-large", LORA, "1.50"), ("gpt2-xl", LORA, "1.25"), ("codellama-7b", LORA, "0.59"), ("mistral-7b", LORA, "0.58"),
        ("gpt2-xl", PREFIX, "0.197"), ("codellama-7b", PREFIX, "0.078"),
        ("gpt2", PROMPT, "0.012"), ("gpt2-xl", PROMPT, "0.002"), ("codellama-7b", PROMPT, "0.001"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)  # fmt: skip
def test_shares_that_agree_with_print(name: str, method: MethodConfig, printed: str) -> None:
    """Computed from the config alone, to as many digits as were printed."""
    decimals = len(printed.partition(".")[2])
    assert f"{share(outline_of(on_meta(name)), method):.{decimals}f}" == printed


def test_shares_that_print_got_otherwise() -> None:
    """GPT-2 124M: .47% is printed for LoRA on all linear layers, which is `c_attn` alone; for 355M 2.99% is printed.

    Prefixes of the small models were printed over the base alone: .296 and .277, against PEFT's .295 and .276.
    """
    small, medium = outline_of(on_meta("gpt2")), outline_of(on_meta("gpt2-medium"))
    assert round(share(small, LORA), 2) == 1.86
    assert round(share(small, LoraConfig(target_modules=("c_attn",))), 2) == 0.47
    assert round(share(medium, LORA), 2) == 1.74
    for outline, printed in ((small, 0.296), (medium, 0.277)):
        assert round(100 * trained_parameters(outline, PREFIX) / outline.parameters, 3) == printed
        assert round(share(outline, PREFIX), 3) == pytest.approx(printed - 0.001)
