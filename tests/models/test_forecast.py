"""Forecasts against what is counted and kept: parameters against PEFT's own, activations against autograd's, shares against print."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from codetune.batches import Batch
from codetune.config import FullConfig, LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig, TrainConfig
from codetune.errors import UserError
from codetune.methods import Adapted, attach
from codetune.models.families import targets_of
from codetune.models.forecast import Pass, activation_bytes, forecast_memory, forecast_seconds, measure_rate
from codetune.models.forward import summed_loss
from codetune.models.outline import Outline, outline_of, trained_parameters

METHODS: list[MethodConfig] = [FullConfig(), LoraConfig(), PrefixTuningConfig(), PromptTuningConfig()]
SHAPE = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 3, "num_attention_heads": 4,
    "max_position_embeddings": 256,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "gpt2": transformers.GPT2Config(
        vocab_size=256, n_positions=256, n_embd=64, n_layer=3, n_head=4, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0, bos_token_id=0,
        eos_token_id=0,
    ),
    "llama": transformers.LlamaConfig(**SHAPE),
    "mistral": transformers.MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=32),
    "falcon": transformers.FalconConfig(
        vocab_size=256, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, multi_query=True, parallel_attn=True, alibi=False,
        new_decoder_architecture=False, bias=False, max_position_embeddings=256,
    ),
}  # fmt: skip
ROWS, WIDTH = 2, 120


def attached(family: str, method: MethodConfig) -> tuple[Adapted, Outline]:
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[family], attn_implementation="sdpa")
    outline = outline_of(model)
    return attach(model, method, targets_of(model), [1, 2, 3], 0), outline


def kept_bytes(adapted: Adapted, outline: Outline, batch: Batch) -> int:
    """What autograd keeps of a forward pass for the backward pass, parameters aside, each piece of memory once."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in adapted.root.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in parameters:
            kept[place] = tensor  # held, so that no other tensor takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = summed_loss(adapted, outline.family, batch)
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", CONFIGS)
def test_activations_are_what_autograd_keeps(family: str, method: MethodConfig) -> None:
    adapted, outline = attached(family, method)
    assert trained_parameters(outline, method) == adapted.trainable_share()[0]
    targets = torch.zeros(ROWS, WIDTH, dtype=torch.bool)
    targets[:, WIDTH // 2 :] = True
    positions = torch.arange(WIDTH).expand(ROWS, -1)
    batch = Batch(torch.randint(256, (ROWS, WIDTH)), torch.ones(ROWS, WIDTH, dtype=torch.long), positions, targets)
    one = Pass(ROWS, WIDTH, batch.num_targets)
    forecast = activation_bytes(outline, method, TrainConfig(), one) + 4 * one.targets * 256
    assert forecast == pytest.approx(kept_bytes(adapted, outline, batch), rel=0.35)


def meta(config: Any) -> Outline:
    with torch.device("meta"):
        return outline_of(transformers.AutoModelForCausalLM.from_config(config))


def share(outline: Outline, method: MethodConfig) -> float:
    """In percent, as PEFT prints it."""
    trained = trained_parameters(outline, method)
    return 100 * trained / (outline.parameters + trained)


def test_published_shares_without_any_weights() -> None:
    """CodeLlama-7B and GPT-2 1.6B: the shares of trained parameters as printed in the comparison of tuning methods."""
    codellama = meta(transformers.LlamaConfig(vocab_size=32016))  # the other defaults are the 7B shape
    assert codellama.parameters == 6_738_546_688
    assert share(codellama, LoraConfig()) == pytest.approx(0.59, abs=0.005)
    assert share(codellama, PrefixTuningConfig()) == pytest.approx(0.078, abs=0.0005)
    assert share(codellama, PromptTuningConfig()) == pytest.approx(0.001, abs=0.0005)
    xl = meta(transformers.GPT2Config(n_embd=1600, n_layer=48, n_head=25))
    assert share(xl, LoraConfig()) == pytest.approx(1.25, abs=0.005)
    assert share(xl, PrefixTuningConfig()) == pytest.approx(0.197, abs=0.0005)


def test_memory_by_hand() -> None:
    """Full fine-tuning: 4 bytes of weight, 4 of gradient and 8 of optimiser per parameter; LoRA pays the last two for its own alone."""
    outline, one = meta(CONFIGS["llama"]), Pass(2, 100, 50)
    full = forecast_memory(outline, FullConfig(), TrainConfig(), [one])
    assert (full.weights, full.gradients, full.optimiser) == tuple(n * outline.parameters for n in (4, 4, 8))
    assert full.logits == 50 * 256 * 12
    assert full.peak - full.process == full.weights + full.gradients + full.optimiser + full.activations + full.logits
    assert full.kernels == 0
    lora = forecast_memory(outline, LoraConfig(), TrainConfig(precision="bf16"), [one, Pass(1, 10, 5)])
    trained = trained_parameters(outline, LoraConfig())
    assert lora.weights == 4 * outline.parameters - 2 * outline.linear_parameters + 6 * trained
    assert (lora.gradients, lora.optimiser) == (4 * trained, 8 * trained)
    if not torch.cuda.is_available():  # two numbers of targets; two shapes of batch times three of linear layer
        assert lora.kernels == (3 * 2 + 3 * 2 * 3) * 1_750_000


def test_time_follows_the_work() -> None:
    outline, one = meta(CONFIGS["llama"]), Pass(2, 100, 100)
    fp32 = TrainConfig()
    full = forecast_seconds(outline, FullConfig(), fp32, [one] * 10, [], 1e9)
    products = 200 * (outline.linear_parameters + 2 * 100 * 4 * 16 * 3) + 100 * 64 * 256
    assert full == pytest.approx(10 * 3 * 2 * products / (1e9 * 0.6))
    assert forecast_seconds(outline, PrefixTuningConfig(), fp32, [one] * 10, [], 1e9) < full
    assert forecast_seconds(outline, FullConfig(), fp32, [one] * 10, [one] * 10, 1e9) == pytest.approx(full * 4 / 3)


def test_the_rate_is_measured_on_this_machine() -> None:
    assert 1e6 < measure_rate(meta(CONFIGS["llama"]), TrainConfig(), 64, seconds=0.01) < 1e15


def test_unknown_target_modules_are_named() -> None:
    with pytest.raises(UserError, match=r"target_modules \['query'\]: this model's linear layers are down_proj"):
        trained_parameters(meta(CONFIGS["llama"]), LoraConfig(target_modules=("query",)))
