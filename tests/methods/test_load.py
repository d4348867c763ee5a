"""Adapters that plain PEFT made load here with the same logits, and training goes on from any that was loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from codetune.errors import UserError
from codetune.methods import SoftPrompt, load_adapter
from tests.exactness.test_packing import examples, packed
from tests.exactness.test_saving import CLOSE, logits, stock
from tests.exactness.test_training import make_run, train
from tests.exactness.tiny import METHODS, adapted_tiny, tiny

pytestmark = [  # plain PEFT's own
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
]
LM = {"task_type": "CAUSAL_LM"}
THEIRS: dict[str, tuple[str, Callable[[], Any]]] = {  # what it is here, and how plain PEFT makes it, with its own defaults for the model
    "lora on q_proj": ("lora", lambda: peft.LoraConfig(**LM, r=2, target_modules=["q_proj"])),
    "lora with biases": ("lora", lambda: peft.LoraConfig(**LM, r=2, bias="all", target_modules="all-linear")),
    "rslora": ("rslora", lambda: peft.LoraConfig(**LM, r=2, use_rslora=True, target_modules=["q_proj", "v_proj"])),
    "dora": ("dora", lambda: peft.LoraConfig(**LM, r=2, use_dora=True, target_modules=["q_proj"])),
    "vera": ("vera", lambda: peft.VeraConfig(**LM, r=5, target_modules=["q_proj"])),
    "ia3": ("ia3", lambda: peft.IA3Config(**LM)),
    "ln_tuning": ("ln_tuning", lambda: peft.LNTuningConfig(**LM)),
    "loha, which codetune does not train": ("loha", lambda: peft.LoHaConfig(**LM, r=2, target_modules=["q_proj"])),
    "prompt tuning": ("prompt_tuning", lambda: peft.PromptTuningConfig(**LM, num_virtual_tokens=4)),
    "p-tuning": ("p_tuning", lambda: peft.PromptEncoderConfig(**LM, num_virtual_tokens=4, encoder_hidden_size=9)),
    "prefix tuning": ("prefix_tuning", lambda: peft.PrefixTuningConfig(**LM, num_virtual_tokens=4)),
    "prefix tuning with a projection": (
        "prefix_tuning",
        lambda: peft.PrefixTuningConfig(**LM, num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=9),
    ),
}


@pytest.mark.parametrize("kind", THEIRS)
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_plain_pefts_adapters_load_here(family: str, kind: str, tmp_path: Path) -> None:
    name, config = THEIRS[kind]
    torch.manual_seed(0)
    made = peft.get_peft_model(tiny(family, torch.float32)[0], config())
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    made.save_pretrained(str(tmp_path))
    wanted = stock(peft.PeftModel.from_pretrained(tiny(family, torch.float32)[0], str(tmp_path)))
    model, facts = tiny(family, torch.float32)
    loaded = load_adapter(model, tmp_path)
    assert loaded.method == name
    torch.testing.assert_close(logits(loaded, facts), wanted, **CLOSE)
    assert not torch.allclose(stock(tiny(family, torch.float32)[0]), wanted, atol=0.05), "the adapter does nothing: the test could not fail"


@pytest.mark.parametrize("method", [method for method in METHODS if method != "full"])
def test_training_goes_on_from_a_loaded_adapter(method: str, tmp_path: Path) -> None:
    """From the same loss; what trained then trains now, the base does not, and what comes of it is saved and loaded again."""
    family = "gpt2" if method == "bitfit" else "llama"
    before, facts = adapted_tiny(family, method, torch.float32)
    before.save(tmp_path / "first")
    loaded = load_adapter(tiny(family, torch.float32)[0], tmp_path / "first", trainable=True)
    run = make_run(tmp_path / "run", family, method)
    run.adapted = loaded
    frozen = {name: parameter.detach().clone() for name, parameter in loaded.frozen().items()}
    trained = {name: parameter.detach().clone() for name, parameter in loaded.trained().items()}
    if method not in ("pissa", "p_tuning"):  # in whose files there is what comes of the trained tensors
        assert trained.keys() == before.trained().keys()
    loaded.root.train()
    assert packed(loaded, facts, examples(), "exact", 2)[0] == pytest.approx(packed(before, facts, examples(), "exact", 2)[0], rel=1e-6)
    train(run)
    assert all(not torch.equal(parameter, trained[name]) for name, parameter in loaded.trained().items())
    assert all(torch.equal(parameter, frozen[name]) for name, parameter in loaded.frozen().items())
    loaded.save(tmp_path / "second")
    again = load_adapter(tiny(family, torch.float32)[0], tmp_path / "second")
    assert torch.equal(logits(again, facts), logits(loaded, facts))
    assert again.method == loaded.method
    assert (again.soft_prompt is SoftPrompt.NONE) == (method not in ("prefix_tuning", "prompt_tuning", "p_tuning"))


def test_a_soft_prompt_of_a_kind_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    config = peft.MultitaskPromptTuningConfig(**LM, num_virtual_tokens=4, num_tasks=2)
    peft.get_peft_model(tiny("llama", torch.float32)[0], config).save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match=r"type MULTITASK_PROMPT_TUNING, which codetune does not run") as caught:
        load_adapter(tiny("llama", torch.float32)[0], tmp_path)
    assert "\n" not in str(caught.value)
