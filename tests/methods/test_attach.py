"""What attaching promises besides exactness: nothing changes before training, starts are those asked for, PiSSA is PEFT's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bitsandbytes
import peft
import pytest
import torch
import transformers

from codetune.config import (
    BottleneckConfig,
    DoraConfig,
    LoraConfig,
    MethodConfig,
    PissaConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    PTuningConfig,
    QloraConfig,
    RsLoraConfig,
)
from codetune.methods import Adapted, attach, load_adapter
from codetune.models.families import Family, family_of, targets_of
from tests.exactness.test_packing import assert_close, examples, packed, reference
from tests.exactness.test_saving import CLOSE, IDS, logits, stock
from tests.exactness.tiny import METHODS, PAIRS, TOLERANCE, config_of, tiny

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # plain PEFT's own
SOFT = ("prefix_tuning", "prompt_tuning", "p_tuning")
UNTRAINED = [(family, METHODS[method]) for family, method in PAIRS if method != "full" and method not in SOFT]
UNTRAINED += [("gpt2", RsLoraConfig(init="pissa")), ("llama", DoraConfig(init="pissa", lora_rank=3)), ("llama", PissaConfig(lora_rank=99))]


def fresh(family: str, method: MethodConfig, dtype: torch.dtype = torch.float32) -> tuple[Adapted, Family]:
    model, facts = tiny(family, dtype)
    adapted = attach(model, method, targets_of(model), [7, 8, 9], 0)
    adapted.root.to(dtype)
    return adapted, facts


@pytest.mark.parametrize(("family", "method"), UNTRAINED, ids=lambda value: value if isinstance(value, str) else value.name)
def test_nothing_changes_before_training(family: str, method: MethodConfig) -> None:
    """PiSSA included, whose two halves take each other away; at more than the matrices' rank, too."""
    before = stock(tiny(family, torch.float64)[0])
    adapted, facts = fresh(family, method, torch.float64)
    torch.testing.assert_close(logits(adapted, facts), before, rtol=TOLERANCE[family], atol=10 * TOLERANCE[family])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_pissa_is_pefts_and_leaves_the_base_as_it_is(family: str) -> None:
    """PEFT's trains beside a residual in the base. The same matrices, the same gradients."""
    method = PissaConfig(lora_rank=3, lora_alpha=6)
    adapted, facts = fresh(family, method)
    model = tiny(family, torch.float32)[0]
    for name, parameter in model.named_parameters():
        path, _, leaf = name.rpartition(".")
        changed = adapted.model.get_submodule(path)
        kept = changed.get_base_layer() if hasattr(changed, "get_base_layer") else changed
        assert torch.equal(getattr(kept, leaf), parameter), name
    targets = targets_of(model)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules=list(targets.linear), init_lora_weights="pissa",
        fan_in_fan_out=targets.fan_in_fan_out,
    )  # fmt: skip
    theirs = peft.get_peft_model(model, config)
    loss, gradients = packed(adapted, facts, examples(), "exact", 9)
    wanted_loss, wanted = packed(Adapted(theirs.base_model.model, "pissa", theirs), facts, examples(), "exact", 9)
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    ours = {name.replace("parametrizations.weight.original", "weight"): gradient for name, gradient in gradients.items()}
    assert_close(ours, wanted, 1e-4)
    for name, parameter in adapted.trained().items():
        other = theirs.get_parameter(name.replace("parametrizations.weight.original", "weight"))
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [PromptTuningConfig(num_virtual_tokens=3), PrefixTuningConfig(num_virtual_tokens=3)])
@pytest.mark.parametrize("family", ["gpt2", "llama", "falcon"])
def test_a_start_from_a_text_is_that_text(family: str, method: MethodConfig) -> None:
    """Untrained, the virtual tokens say what the three tokens say that they start from."""
    adapted, facts = fresh(family, method, torch.float64)
    model = tiny(family, torch.float64)[0]
    with torch.no_grad():
        wanted = model(torch.tensor([[7, 8, 9, *IDS]])).logits[0, 3:]
    torch.testing.assert_close(logits(adapted, facts), wanted, rtol=1e-6, atol=1e-5)  # PEFT's prompts are made in float32


def test_the_other_starts() -> None:
    zeros, facts = fresh("mistral", PrefixTuningConfig(num_virtual_tokens=4, init="zeros"))
    assert all(not tensor.any() for layer in zeros.virtual_keys_values(facts.kv_heads) for tensor in layer)
    rows = fresh("llama", PromptTuningConfig(num_virtual_tokens=4, init="vocabulary"))[0].virtual_embeddings()
    words = tiny("llama", torch.float32)[0].get_input_embeddings().weight
    found = [int((words == row).all(1).nonzero()) for row in rows]
    assert found != [7, 8, 9, 7]
    again = fresh("llama", PromptTuningConfig(num_virtual_tokens=7))[0].virtual_embeddings()
    assert torch.equal(again, words[[7, 8, 9, 7, 8, 9, 7]]), "too few tokens are repeated"


@pytest.mark.parametrize("family", ["gpt2", "falcon"])
def test_p_tuning_with_an_lstm(family: str, tmp_path: Path) -> None:
    """Packed as alone, with gradients into the LSTM; saved without it, and the same in plain PEFT."""
    method = PTuningConfig(num_virtual_tokens=4, encoder="lstm", encoder_hidden_size=6)
    adapted, facts = fresh(family, method, torch.float64)
    loss, gradients = reference(adapted, examples())
    got, got_gradients = packed(adapted, facts, examples(), "exact", 2)
    assert got == pytest.approx(loss, rel=1e-12)
    assert any("lstm_head" in name for name in gradients)
    assert_close(got_gradients, gradients, 1e-11)
    adapted, facts = fresh(family, method)
    adapted.save(tmp_path)
    assert torch.equal(logits(load_adapter(tiny(family, torch.float32)[0], tmp_path), facts), logits(adapted, facts))
    plain = peft.PeftModel.from_pretrained(tiny(family, torch.float32)[0], str(tmp_path))
    torch.testing.assert_close(stock(plain), logits(adapted, facts), **CLOSE)


def test_p_tuning_computes_its_prompt_in_full_precision_under_autocast() -> None:
    adapted, _ = fresh("llama", PTuningConfig(num_virtual_tokens=4))
    saved = adapted.peft.get_prompt_embedding_to_save("default")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapted.virtual_embeddings(), saved)


@pytest.mark.parametrize(("placement", "leaves"), [("houlsby", {"o_proj", "down_proj"}), ("pfeiffer", {"down_proj"})])
def test_where_bottlenecks_stand(placement: str, leaves: set[str]) -> None:
    adapted, _ = fresh("llama", BottleneckConfig.model_validate({"bottleneck_size": 5, "placement": placement}))
    assert {name.split(".")[-4] for name in adapted.trained()} == leaves
    assert {tuple(p.shape) for name, p in adapted.trained().items() if name.endswith("weight")} == {(5, 16), (16, 5)}


def test_a_bottleneck_can_be_switched_off() -> None:
    adapted, _ = fresh("llama", BottleneckConfig(bottleneck_size=5))
    before = stock(adapted.model)
    with torch.no_grad():
        for parameter in adapted.trained().values():
            parameter.add_(0.3)
    assert not torch.allclose(stock(adapted.model), before, atol=0.1)
    with adapted.peft.disable_adapter():
        assert torch.equal(stock(adapted.model), before)


def test_a_share_must_be_settled_first() -> None:
    model = tiny("gpt2")[0]
    with pytest.raises(ValueError, match="still a share"):
        attach(model, LoraConfig(trainable_share=0.01), targets_of(model), [], 0)


def in_4_bits() -> tuple[torch.nn.Module, Family]:
    """A tiny Llama whose linear layers are bitsandbytes' NF4; their inputs are multiples of its block."""
    config = config_of("llama")
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    for path, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and path != "lm_head":
            quantised = bitsandbytes.nn.Linear4bit(
                module.in_features, module.out_features, bias=False, compute_dtype=torch.float32, quant_type="nf4"
            )
            quantised.weight = bitsandbytes.nn.Params4bit(module.weight.data, requires_grad=False, quant_type="nf4")
            quantised.support_avx512bf16_for_cpu = False
            parent, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(parent), leaf, quantised.to("cpu"))
    model.is_loaded_in_4bit = True
    return model, family_of(config)


def test_qlora_trains_beside_4_bits(tmp_path: Path) -> None:
    """Packed as alone, the base untouched by training; saved as a LoRA that plain PEFT loads on the same base."""
    model, facts = in_4_bits()
    adapted = attach(model, QloraConfig(lora_rank=3), targets_of(model), [], 0)
    with torch.no_grad():
        for parameter in adapted.trained().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert len(adapted.trained()) == 2 * 7 * 3
    loss, gradients = reference(adapted, examples())
    got, got_gradients = packed(adapted, facts, examples(), "exact", 2)
    assert got == pytest.approx(loss, rel=1e-5)
    assert_close(got_gradients, gradients, 1e-4)
    adapted.save(tmp_path)
    wanted = logits(adapted, facts)
    assert torch.equal(logits(load_adapter(in_4_bits()[0], tmp_path), facts), wanted)
    torch.testing.assert_close(stock(peft.PeftModel.from_pretrained(in_4_bits()[0], str(tmp_path))), wanted, **CLOSE)
    assert not torch.allclose(stock(in_4_bits()[0]), wanted, atol=0.05)


QUIET = """
import torch
from codetune.config import LoraConfig
from codetune.methods import attach
from codetune.models.families import targets_of
from tests.exactness.tiny import tiny
model = tiny("llama")[0]
attach(model, LoraConfig(), targets_of(model), [], 0)
"""


def test_nothing_is_said_on_the_way() -> None:
    """PEFT imports bitsandbytes and torchao, which speak of kernels for other machines."""
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
