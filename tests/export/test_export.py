"""What is exported answers like what was tuned, loads in plain transformers and PEFT, keeps vLLM's rules, or is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch
import transformers

from codetune.cli.main import run
from codetune.config import DecodingConfig
from codetune.data import basics
from codetune.evaluate import request
from codetune.generate.engine import OwnEngine
from codetune.methods import Adapted, attach, load_adapter
from codetune.models.families import linear_layers, targets_of
from codetune.models.load import LoadedModel, load_model
from codetune.train.checks import difference, probe_logits
from tests.cli.probe import probe
from tests.exactness.tiny import FAMILIES, METHODS
from tests.export.conftest import adapter_on
from tests.export.vllm_rules import load_as_vllm

IA3 = peft.IA3Config(task_type="CAUSAL_LM", init_ia3_weights=False)
IDS = [7, 300, 50, 11, 29, 4, 411, 60, 18, 33, 5, 21]


def texts(loaded: LoadedModel, adapted: Adapted) -> list[str]:
    """Greedy answers to a few problems through the engine."""
    requests = [request(loaded.template("instruction"), problem) for problem in basics.load("validation")[:4]]
    return [found.text for found in OwnEngine(loaded, adapted).generate(requests, DecodingConfig(max_new_tokens=16, batch_size=4))]


def stock(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.tensor([IDS])).logits[0]
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_is_the_adapter(family: str, model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Logits in fp32, greedy text through the engine, and what stock transformers makes of the folder."""
    adapter = adapter_on(model_of(family), tmp_path / "adapter")
    assert run(["export", str(adapter), "--to", "merged", "--out", str(tmp_path / "out"), "--dtype", "fp32", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert max(found["merge_difference"], found["saved_difference"]) < 1e-5
    base, merged = load_model(str(model_of(family))), load_model(str(tmp_path / "out"))
    plain = Adapted(merged.model, "merged")
    untuned = probe_logits(Adapted(base.model, "base"), base.family, probe(base.tokenizer))
    adapted = load_adapter(base.model, adapter)
    logits = [probe_logits(each, base.family, probe(base.tokenizer)) for each in (adapted, plain)]
    assert difference(*logits) < 1e-5
    assert difference(logits[0], untuned) > 0.01, "the adapter does nothing: the test could not fail"
    assert texts(merged, plain) == texts(base, adapted)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with_peft = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(model_of(family)), str(adapter))
    torch.testing.assert_close(stock(model), stock(with_peft), rtol=1e-4, atol=1e-4)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").encode("def f(x):") == base.tokenizer.inner.encode("def f(x):")


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_weights_are_rounded_once(
    dtype: str, model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = adapter_on(model_of("llama"), tmp_path / "adapter")
    for kind in ("fp32", dtype):
        assert run(["export", str(adapter), "--to", "merged", "--out", str(tmp_path / kind), "--dtype", kind]) == 0
    one, other = (safetensors.torch.load_file(tmp_path / kind / "model.safetensors") for kind in ("fp32", dtype))
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name].to(kind), other[name]) for name in one)
    assert json.loads((tmp_path / dtype / "config.json").read_text())["dtype"] == str(kind).removeprefix("torch.")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_loads_in_plain_peft_and_by_vllms_rules(
    family: str, model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, out = adapter_on(model_of(family), tmp_path / "adapter"), tmp_path / "out"
    assert run(["export", str(adapter), "--to", "peft", "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == found["base"] == str(model_of(family))
    base = transformers.AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"])
    layers = linear_layers(base)
    modules, scaling = load_as_vllm(out, layers, 8)
    assert all(matrices == {"lora_A", "lora_B"} for matrices in modules.values())
    assert {name.split(".")[-1] for name in modules} == set(layers)
    assert scaling == 2
    wanted = stock(peft.PeftModel.from_pretrained(base, str(adapter)))
    again = transformers.AutoModelForCausalLM.from_pretrained(model_of(family))
    assert torch.equal(stock(peft.PeftModel.from_pretrained(again, str(out))), wanted)
    if family in ("gpt2", "falcon"):
        assert found["vllm_objections"] == [f"its {family} models take no LoRA"]
    else:
        assert "--enable-lora --max-lora-rank 8 --lora-modules" in found["vllm_command"]


@pytest.mark.parametrize(
    ("settings", "says", "vllm_says"),
    [
        ({"use_dora": True}, "it has no DoRA", "DoRA"),
        ({"r": 600}, "its largest rank is 512, this one's is 600", "greater than max_lora_rank"),
        ({"modules_to_save": ["norm"]}, "it takes no modules_to_save", "modules_to_save"),
        ({"bias": "lora_only"}, "it takes no biases", "bias"),
        ({"rank_pattern": {"q_proj": 2}}, "it scales every layer by one rank", "another rank"),
        ({"config": IA3}, "it serves LoRA adapters only, not ia3", "Missing required"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_vllm_would_not_load_is_said(
    settings: dict[str, object], says: str, vllm_says: str, model_of: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The warning, and that the rules as vLLM has them refuse the same folder."""
    adapter = adapter_on(model_of("llama"), tmp_path / "adapter", **settings)
    assert run(["export", str(adapter), "--to", "adapter", "--out", str(tmp_path / "out")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"vLLM would not load it: {says}" in out
    assert "--to merged" in out
    layers = linear_layers(transformers.AutoModelForCausalLM.from_pretrained(model_of("llama")))
    with pytest.raises(ValueError, match=vllm_says):
        load_as_vllm(tmp_path / "out", layers, 512)


def test_ia3_merges_too(model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = adapter_on(model_of("llama"), tmp_path / "a", config=IA3)
    assert run(["export", str(adapter), "--to", "merged", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["merge_difference"] < 1e-5


def test_gguf_is_merged_first_and_the_command_named(
    model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter, out = adapter_on(model_of("llama"), tmp_path / "adapter"), tmp_path / "out"
    assert run(["export", str(adapter), "--to", "gguf", "--out", str(out), "--dtype", "fp16"]) == 0
    assert f"convert_hf_to_gguf.py {out} --outfile {out}.gguf --outtype f16" in " ".join(capsys.readouterr().out.split())
    assert (out / "model.safetensors").exists()


def test_soft_prompts_are_not_merged(model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    adapter = adapter_on(model_of("llama"), tmp_path / "adapter", config=config)
    error = refused(capsys, str(adapter), "--to", "merged", "--out", str(tmp_path / "out"))
    assert "was tuned by prompt_tuning, which cannot be merged into a model's weights: serve it with its adapter" in error
    assert f"(codetune chat --model {model_of('llama')} --adapter {adapter})" in error
    assert not (tmp_path / "out").exists()


def test_what_does_not_answer_alike_gets_no_folder(
    model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An adapter whose merged weights are beyond fp16: rounded they are infinite."""
    adapter = adapter_on(model_of("llama"), tmp_path / "adapter", lora_alpha=3e6)
    error = refused(capsys, str(adapter), "--to", "merged", "--out", str(tmp_path / "out"), "--dtype", "fp16")
    assert "merged in fp16 it does not answer like the adapter" in error
    assert "try --dtype fp32" in error
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_nothing_is_overwritten_unasked(model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter, out = adapter_on(model_of("llama"), tmp_path / "adapter"), tmp_path / "out"
    arguments = [str(adapter), "--to", "adapter", "--out", str(out)]
    assert run(["export", *arguments]) == 0
    (out / "mine.txt").write_text("")
    assert "is there already: choose another, or replace it with --force" in refused(capsys, *arguments)
    assert run(["export", *arguments, "--force"]) == 0
    assert not (out / "mine.txt").exists()
    (out / "README.md").unlink()
    assert "holds something that is no export" in refused(capsys, *arguments, "--force")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--to", "merged", "--out", "x"], "there is no such folder"),
        (["ADAPTER", "--to", "merged"], "--out is missing"),
        (["ADAPTER", "--to", "hub"], "--to hub needs --repo user/name"),
        (["ADAPTER", "--to", "hub", "--repo", "me/mine"], "is on this machine alone"),
        (["MODEL", "--to", "adapter", "--out", "x"], "has a whole model, no adapter"),
        (["ADAPTER", "--to", "onnx", "--out", "x"], "'onnx' is not one of"),
        (["ADAPTER", "--to", "merged", "--out", "x", "--base", "gpt-2"], "did you mean 'gpt2'?"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], says: str, model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"ADAPTER": str(adapter_on(model_of("llama"), tmp_path / "adapter")), "MODEL": str(model_of("llama")), "x": str(tmp_path / "x")}
    assert says in refused(capsys, *(names.get(argument, argument) for argument in arguments))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "full"])
def test_every_method_is_merged_or_refused(
    method: str, model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As codetune saves them, on GPT-2, whose weights lie the other way round and which has biases."""
    loaded = load_model(str(model_of("gpt2")))
    adapted = attach(loaded.model, METHODS[method], targets_of(loaded.model), [7, 8, 9], 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.trained().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    adapted.save(tmp_path / "adapter")
    arguments = [str(tmp_path / "adapter"), "--to", "merged", "--out", str(tmp_path / "out"), "--dtype", "fp32"]
    if not adapted.merges:
        assert "cannot be merged into a model's weights" in refused(capsys, *arguments)
        return
    assert run(["export", *arguments]) == 0
    merged = load_model(str(tmp_path / "out"))
    logits = [probe_logits(each, loaded.family, probe(loaded.tokenizer)) for each in (adapted, Adapted(merged.model, "merged"))]
    assert difference(*logits) < 1e-5
    plain = load_model(str(model_of("gpt2")))
    assert difference(logits[0], probe_logits(Adapted(plain.model, "base"), plain.family, probe(plain.tokenizer))) > 1e-3


def test_a_run_on_4_bits_is_merged_into_the_16_bit_base_and_says_so(
    model_of: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its base's hash was that of the 4-bit weights, which is no reason to refuse the 16-bit ones."""
    adapter_on(model_of("llama"), tmp_path / "run" / "adapter")
    recipe = {"name": "four", "model": str(model_of("llama")), "method": {"name": "qlora", "quantize": "nf4"}, "data": {"source": "basics"}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(recipe))
    (tmp_path / "run" / "train.json").write_text(json.dumps({"model_hash": "of-4-bits", "base_format": "nf4"}))
    arguments = ["export", str(tmp_path / "run"), "--to", "merged", "--out", str(tmp_path / "out")]
    assert run(arguments) == 0
    assert "trained on 4 bits, merged into the 16-bit base" in capsys.readouterr().out
    assert "merged into the 16-bit one" in (tmp_path / "out" / "README.md").read_text()
    recipe["method"] = {"name": "lora", "quantize": "none"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(recipe))
    (tmp_path / "run" / "train.json").write_text(json.dumps({"model_hash": "another", "base_format": "fp32"}))
    assert run([*arguments, "--force"]) == 2
    assert "as it was then, not on" in capsys.readouterr().err
