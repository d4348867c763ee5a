"""Forecasts of memory against what is counted: what autograd keeps of a real pass, what optimisers really hold, and deeper models."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from pydantic import TypeAdapter

from codetune.batches import Batch, full_rows
from codetune.config import METHOD_NAMES, DataConfig, FullConfig, LoraConfig, MethodConfig, TrainConfig, TrainPrecision, TrainRecipe
from codetune.errors import UserError
from codetune.methods import attach
from codetune.models.attention import use_document_attention
from codetune.models.families import family_of, targets_of
from codetune.models.forecast import gpu_called
from codetune.models.forward import summed_loss
from codetune.models.load import attention_of, auto_model, no_dropout
from codetune.models.outline import without_data
from codetune.train import memory
from codetune.train.dry_run import random_base
from codetune.train.fitting import advice, changes_that_fit, settle_checkpointing
from codetune.train.four_bit import four_bit_bytes
from codetune.train.memory import forecast_memory, optimiser_bytes, shaped
from codetune.train.optimizer import make_optimizer
from codetune.train.out_of_memory import memory_limits
from codetune.train.precision import narrow
from codetune.train.ready import make_ready
from codetune.train.resume import CHECKPOINT
from codetune.train.trace import trace
from tests.exactness.wide import wide_config

SHAPE: dict[str, Any] = {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "gpt2": transformers.GPT2Config(vocab_size=256, n_positions=256, n_embd=64, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0),
    "llama": transformers.LlamaConfig(**SHAPE),
    "mistral": transformers.MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=32),
    "falcon": transformers.FalconConfig(
        vocab_size=256, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, multi_query=True, parallel_attn=True, alibi=False,
        new_decoder_architecture=False, bias=False, max_position_embeddings=256,
    ),
}  # fmt: skip
METHODS: dict[str, MethodConfig] = {name: TypeAdapter(MethodConfig).validate_python({"name": name}) for name in METHOD_NAMES}
# Not pissa, which starts from weights, nor qlora, whose tensors are bitsandbytes' own, nor dora: autograd packs what it drops at once.
COUNTED = [name for name in METHOD_NAMES if name not in ("pissa", "qlora", "dora")]
ROWS, WIDTH = 2, 96


def kept_by_autograd(config: Any, method: MethodConfig, batch: Batch) -> int:
    """Of a real forward pass, each piece of memory once, weights aside."""
    torch.manual_seed(0)
    no_dropout(config)
    model = auto_model(family_of(config)).from_config(config, attn_implementation=attention_of(config))
    use_document_attention(model)
    adapted = attach(model, method, targets_of(model), [1], 0)
    make_ready(adapted, TrainConfig(), "cpu")
    own = {tensor.untyped_storage().data_ptr() for tensor in (*adapted.root.parameters(), *adapted.root.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept[place] = tensor  # held, so that no other tensor takes its place
        return tensor

    given = {getattr(batch, name).untyped_storage().data_ptr() for name in Batch.__dataclass_fields__}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        assert summed_loss(adapted, family_of(config), batch).requires_grad
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in given)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("method", COUNTED)
def test_what_a_pass_keeps_is_what_autograd_keeps(family: str, method: str) -> None:
    config, train, batch = CONFIGS[family], TrainConfig(), full_rows(ROWS, WIDTH)
    try:
        made = shaped(config, METHODS[method], train, "cpu")
    except UserError:
        pytest.skip(f"{method} is refused for {family}")
    found = trace(made.adapted, lambda there: summed_loss(made.adapted, made.family, there), batch, 256, gpu=False, accumulates=False)
    assert found.kept == pytest.approx(kept_by_autograd(config, METHODS[method], batch), rel=0.1)


@pytest.mark.parametrize("precision", ["fp32", "bf16_weights"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "muon", "adamw_8bit", "adafactor"])
@pytest.mark.parametrize("method", ["full", "lora", "p_tuning"])
def test_optimisers_hold_what_is_forecast(optimizer: str, method: str, precision: TrainPrecision) -> None:
    """A step for real, on tensors of which some are too small for 8 bits; tables and steps that do not grow with a tensor aside."""
    config, train = CONFIGS["gpt2"], TrainConfig.model_validate({"optimizer": optimizer, "precision": precision})
    model = transformers.AutoModelForCausalLM.from_config(config)
    adapted = attach(model, METHODS[method], targets_of(model), [1], 0)
    narrow(adapted, precision)
    trained = adapted.trained()
    made = make_optimizer(trained, train, 1e-3)
    for parameter in trained.values():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    states = [(key, value) for part in made.parts for state in part.state.values() for key, value in state.items()]
    grown = {value.untyped_storage().data_ptr(): value for key, value in states if isinstance(value, torch.Tensor) and "qmap" not in key}
    held = sum(value.numel() * value.element_size() for value in grown.values() if value.ndim)
    sizes = [(name, tuple(parameter.shape), parameter.element_size()) for name, parameter in trained.items()]
    assert optimiser_bytes(sizes, train) == held


def test_a_model_published_in_bf16_is_forecast_as_it_is_trained() -> None:
    """In float32 where the policy says so; only loading it in bf16 takes less."""
    config = copy.deepcopy(CONFIGS["llama"])
    for method, precision in ((FullConfig(), "fp32"), (LoraConfig(), "bf16")):
        train = TrainConfig.model_validate({"precision": precision})
        found = []
        for dtype in (torch.float32, torch.bfloat16):
            config.dtype = dtype
            found.append(forecast_memory(config, method, train, [full_rows(1, WIDTH)]))
            assert config.dtype == dtype
        assert found[0].training == found[1].training
        assert (found[0].loading > found[1].loading) == (precision == "bf16")


@pytest.mark.parametrize("batch_tokens", [4096, WIDTH])
@pytest.mark.parametrize("method", ["full", "lora", "prompt_tuning", "bottleneck", "ia3", "qlora", "prefix_tuning"])
def test_deep_models_are_as_deep_as_all_their_layers(method: str, batch_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six layers from three and four, against six (with prefixes, and for a step in one pass of all weights, every layer is traced)."""
    config, train = transformers.LlamaConfig(**SHAPE | {"num_hidden_layers": 6}), TrainConfig(precision="bf16")
    train = train.model_copy(update={"batch_tokens": batch_tokens})
    few = forecast_memory(config, METHODS[method], train, [full_rows(1, WIDTH)], gpu=True)
    monkeypatch.setattr(memory, "DEPTHS", (100, 101))
    assert few == forecast_memory(config, METHODS[method], train, [full_rows(1, WIDTH)], gpu=True)


def test_weights_gradients_and_states_by_hand() -> None:
    """Full fine-tuning: 4 bytes of weight, 4 of gradient and 8 of optimiser per parameter."""
    config = CONFIGS["llama"]
    count = without_data(config).num_parameters()
    found = forecast_memory(config, FullConfig(), TrainConfig(), [full_rows(1, WIDTH)], gpu=True)
    assert found.weights == pytest.approx(4 * count, rel=0.03)  # allocations are whole blocks
    assert found.gradients == pytest.approx(4 * count, rel=0.03)
    assert found.optimiser == 8 * count
    assert found.peak == max(found.training, found.loading, found.reloading)
    assert found.disk == 3 * 12 * count + 3 * 4 * count  # two checkpoints and the next, the best and its next, and what is saved


def test_less_is_kept_with_checkpointing_and_for_a_smaller_batch() -> None:
    config = transformers.LlamaConfig(**SHAPE | {"num_hidden_layers": 6})
    plain, train = LoraConfig(), TrainConfig()
    four = forecast_memory(config, plain, train, [full_rows(4, WIDTH)], gpu=True)
    one = forecast_memory(config, plain, train, [full_rows(1, WIDTH)], gpu=True)
    twice = forecast_memory(config, plain, train.model_copy(update={"activation_checkpointing": True}), [full_rows(4, WIDTH)], gpu=True)
    assert one.activations < 0.35 * four.activations
    assert twice.activations < 0.5 * four.activations


def test_a_base_in_4_bits_holds_what_is_forecast() -> None:
    """bitsandbytes' own tensors of a real one, scales of scales included."""
    config = wide_config("gpt2")
    model = random_base(copy.deepcopy(config), METHODS["qlora"], TrainConfig(precision="bf16"), "cpu")
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    states = [layer.weight.quant_state for layer in layers]
    tables = [part for state in states for part in (state.absmax, state.code, state.state2.absmax, state.state2.code)]
    held = sum(tensor.numel() * tensor.element_size() for tensor in (*(layer.weight for layer in layers), *tables))
    assert held == sum(four_bit_bytes(state.shape.numel()) for state in states)
    assert len(layers) == 4 * config.n_layer


def test_gpus_by_name_and_by_memory() -> None:
    assert gpu_called("24GB").memory_bytes == 24e9
    assert gpu_called("H100").memory_bytes > gpu_called("A100-40GB").memory_bytes > 40e9
    with pytest.raises(UserError, match=r"no GPU 'H1000': did you mean 'h100'\?"):
        gpu_called("H1000")
    with pytest.raises(UserError, match="more than 0 GB"):
        gpu_called("0GB")


def test_changes_that_fit_do_fit_and_come_nearest_first() -> None:
    config, machine = transformers.LlamaConfig(**SHAPE | {"num_hidden_layers": 6}), gpu_called("0.009GB")
    recipe = TrainRecipe(name="x", model="x", data=DataConfig(source="basics"), method=LoraConfig(), train=TrainConfig(max_seq_len=96))
    batches = [full_rows(4, WIDTH)]
    peak = forecast_memory(config, recipe.method, recipe.train, batches, gpu=True).peak
    assert peak > machine.memory_bytes
    found = changes_that_fit(recipe, config, batches, machine)
    assert found
    assert all(one.peak <= machine.memory_bytes for one in found)
    assert found[0].settings.startswith("--set train.micro_batch_size=")
    line = advice(peak, machine, found)
    assert "these would fit: --set train.micro_batch_size=" in line
    assert "\n" not in line
    assert "nothing that codetune can change" in advice(peak, machine, [])


def test_layers_are_computed_twice_where_they_would_not_fit_otherwise() -> None:
    config, batches = transformers.LlamaConfig(**SHAPE | {"num_hidden_layers": 6}), [full_rows(4, WIDTH)]
    train = TrainConfig(max_seq_len=96, activation_checkpointing="auto")
    recipe = TrainRecipe(name="x", model="x", data=DataConfig(source="basics"), method=LoraConfig(), train=train)
    peak = forecast_memory(config, recipe.method, train, batches, gpu=True).training / 1e9
    for size, twice, word in ((1.06 * peak, False, "off"), (1.04 * peak, True, "on")):
        settled, why = settle_checkpointing(recipe, config, batches, gpu_called(f"{size}GB"))
        assert settled.train.activation_checkpointing is twice
        assert why.startswith(f"train.activation_checkpointing=auto: {word} ({peak:.2f} GB forecast without, ")
        assert settle_checkpointing(settled, config, batches, gpu_called("0.001GB")) == (settled, "")


def test_memory_that_runs_out_is_one_line(tmp_path: Path) -> None:
    """What the CPU's allocator raises, for real: more than any machine has."""
    with pytest.raises(UserError, match="out of memory in training: halve") as caught, memory_limits(tmp_path):
        torch.empty(1 << 50)
    assert "\n" not in str(caught.value)
    (tmp_path / CHECKPOINT / "step-1").mkdir(parents=True)
    with pytest.raises(UserError, match="the checkpoint is kept"), memory_limits(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="shapes"), memory_limits(tmp_path):
        raise RuntimeError("shapes do not match")
