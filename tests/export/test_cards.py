"""Model cards: every figure is one of the run's records, the head is what the hub reads, and a wrong number is no score."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import peft
import pytest
import torch
import transformers
import yaml

from codetune.cli.main import run
from codetune.config import TrainRecipe, validate
from codetune.export.card import card
from codetune.export.front import hub_id
from codetune.export.tuned import find
from codetune.models.load import load_model
from codetune.models.stages import tuned_hash
from codetune.train.finetune import finetune
from tests.cli.conftest import RECIPE, tiny_model  # noqa: F401
from tests.hub_server import hub

PROGRAM = [sys.executable, "-W", "ignore", "-c", "from codetune.cli.main import main; main()"]


def recipe_of(model: Path | str, **more: Any) -> TrainRecipe:
    train = RECIPE["train"] | {"train_tokens": 2000, "validations": 1}
    decontaminate = {"against": ["basics-known"]}
    return validate(RECIPE | {"model": str(model), "train": train, "decontaminate": decontaminate} | more, TrainRecipe, "test")


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A folder of runs: `lora`, with scores beside it as `codetune evaluate --out` keeps them, and `second` on top of it, and `full`."""
    folder = tmp_path_factory.mktemp("runs")
    (tiny_model / "README.md").write_text("---\nlicense: mit\n---\n# tiny\n")
    finetune(recipe_of(tiny_model), folder / "lora")
    finetune(recipe_of(folder / "lora"), folder / "second")
    finetune(recipe_of(tiny_model, method={"name": "full"}), folder / "full")
    asked = ["--benchmark", "basics-known", "--limit", "2", "--max-new-tokens", "8", "--out", str(folder / "lora" / "scores")]
    assert run(["evaluate", "--model", str(tiny_model), "--adapter", str(folder / "lora"), *asked]) == 0
    return folder


def head_of(text: str) -> Any:
    return huggingface_hub.ModelCard(text).data


def written(folder: Path) -> str:
    return (folder / "README.md").read_text()


def test_a_card_has_the_runs_own_figures(trained: Path, tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    assert run(["export", str(trained / "lora"), "--to", "merged", "--out", str(tmp_path / "out")]) == 0
    text = written(tmp_path / "out")
    train = json.loads((trained / "lora" / "train.json").read_text())
    score = json.loads((trained / "lora" / "scores" / "result.json").read_text())["benchmarks"]["basics-known"]
    loss, bits = train["held_out"]["loss"], train["held_out"]["bits_per_byte"]
    low, high = score["pass_at_k_ci95"]["1"]
    for figure in (
        f"| text tokens seen | {train['tokens']:,} |",
        f"| validation loss before and after, nats per token | {loss[0]:.3f}, {loss[1]:.3f} |",
        f"| validation bits per byte before and after | {bits[0]:.3f}, {bits[1]:.3f} |",
        f"({train['trainable_parameters']:,} of {train['total_parameters']:,})",
        f"| hash of the base's weights | {train['model_hash']} |",
        f"| pass@1 | {100 * score['pass_at_k']['1']:.1f}% | {100 * low:.1f} to {100 * high:.1f} |",
        f"**basics-known**: 2 problems, 2 samples; greedy; at most 8 new tokens; prompt style instruction; batches of 32; fp32; "
        f"sandbox {score['sandbox_tier']}",
        f"| overlap with basics-known | none of {train['train_test_overlap']['documents']:,} documents |",
        "| merge | ok |  |",
        "### Instruction:\nWrite a function that reverses a string.",
    ):
        assert figure in text, figure
    recipe = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    assert recipe["method"]["lora_rank"] == 2
    assert str(tmp_path.parent) not in text.replace(str(trained), ""), "a folder of the author's machine is in the card"
    data = head_of(text)
    assert (data.license, data.library_name, data.pipeline_tag, data.model_name) == ("mit", "transformers", "text-generation", "tiny")
    assert {result.metric_type: result.metric_value for result in data.eval_results}["pass@1"] == score["pass_at_k"]["1"]


def test_training_writes_a_card_beside_the_adapter(tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of(tiny_model, out=str(tmp_path / "run")).model_dump(mode="json")))
    assert run(["train", str(recipe)]) == 0
    text = written(tmp_path / "run" / "adapter")
    assert head_of(text).library_name == "peft"
    assert "PeftModel.from_pretrained" in text
    assert "No scores were recorded" in text
    assert "## Scores" not in text


def test_an_invalid_run_says_so_first_and_has_no_scores_for_the_hub(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "lora", tmp_path / "lora")
    train = json.loads((tmp_path / "lora" / "train.json").read_text())
    train["checks"]["moved_frozen_tensors"] = 3
    (tmp_path / "lora" / "train.json").write_text(json.dumps(train))
    text = card(find(str(tmp_path / "lora")), "gpt2")
    body = text.split("---\n")[2].strip().splitlines()
    assert body[0] == "# tiny"
    assert body[2].startswith("> **Not valid** (frozen_tensors_kept): ")
    assert head_of(text).eval_results is None
    assert "| frozen_tensors_kept | invalid | 3 of " in text
    assert head_of(text).base_model == "openai-community/gpt2"


def test_a_studys_cell_brings_its_gates_and_scores(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "lora", tmp_path / "cell", ignore=shutil.ignore_patterns("scores"))
    result = json.loads((trained / "lora" / "scores" / "result.json").read_text())
    gate = {"name": "basics-known:eos_finish", "level": "warning", "value": 0.1, "threshold": ">= 0.5", "message": "few end"}
    (tmp_path / "cell" / "result.json").write_text(json.dumps({"cell": {}, "benchmarks": result["benchmarks"], "gates": [gate]}))
    text = card(find(str(tmp_path / "cell")), "gpt2")
    assert "| basics-known:eos_finish | warning | few end |" in text
    assert "| pass@1 |" in text


def test_scores_of_another_model_are_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find(str(trained / "second")).results == ()
    arguments = ["export", str(trained / "full"), "--to", "merged", "--out", str(tmp_path / "out")]
    assert run([*arguments, "--scores", str(trained / "lora" / "scores")]) == 2
    assert "these are the scores of another model" in capsys.readouterr().err
    assert run([*arguments, "--scores", str(tmp_path)]) == 2
    assert "no result.json" in capsys.readouterr().err


def test_full_runs_are_copied_in_the_dtype_asked_for(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(trained / "full"), "--to", "merged", "--dtype", "bf16", "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dtype"], found["merge_difference"]) == ("bf16", 0)
    assert 0 < found["saved_difference"] < 0.05
    weights = {name: (folder / "model.safetensors").stat().st_size for name, folder in
               (("fp32", trained / "full" / "adapter"), ("bf16", tmp_path / "out"))}  # fmt: skip
    assert weights["bf16"] < 0.6 * weights["fp32"]


def test_a_run_on_a_run(trained: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """Merged it is one model; as an adapter it needs its base as a model first."""
    for name, dtype in (("half", torch.bfloat16), ("whole", torch.float32)):
        kind = "bf16" if name == "half" else "fp32"
        assert run(["export", str(trained / "second"), "--to", "merged", "--out", str(tmp_path / name), "--dtype", kind]) == 0
        saved, merged = (load_model(str(folder), dtype).model.state_dict() for folder in (tmp_path / name, trained / "second"))
        assert all(torch.equal(saved[key], merged[key]) for key in merged), "in memory it is what is exported"
    capsys.readouterr()
    arguments = ["export", str(trained / "second"), "--to", "adapter", "--out", str(tmp_path / "adapter")]
    assert run(arguments) == 2
    assert f"was tuned on the run {trained / 'lora'}, which only codetune opens: codetune export" in capsys.readouterr().err
    assert run(["export", str(trained / "lora"), "--to", "merged", "--out", str(tmp_path / "base"), "--dtype", "fp32"]) == 0
    assert run([*arguments, "--base", str(tmp_path / "base")]) == 0
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    ids = torch.tensor([[7, 300, 50, 11, 29, 4, 411]])
    stacked = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"))(ids).logits
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "whole")(ids).logits
    torch.testing.assert_close(stacked, whole, rtol=1e-4, atol=1e-4)


def push(folder: Path, address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library reads where the hub is when it is imported."""
    given = {"HF_ENDPOINT": address, "HF_TOKEN": "hf_test", "HOME": str(folder.parent), "PATH": "/usr/bin:/bin"}
    command = [*PROGRAM, "export", str(folder), "--to", "hub", "--repo", "me/mine", *arguments]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120)


def test_an_adapter_and_a_merged_model_arrive_on_the_hub(trained: Path, tmp_path: Path) -> None:
    with hub("model") as (address, files):
        done = push(trained / "lora", address, "--base", "org/base")
    assert done.returncode == 0, done.stderr
    assert set(files) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/base"
    assert head_of(files["README.md"].decode()).base_model == "org/base"
    assert done.stdout.strip() == f"{address}/me/mine"
    assert run(["export", str(trained / "lora"), "--to", "merged", "--out", str(tmp_path / "out")]) == 0
    with hub("model") as (address, files):
        done = push(tmp_path / "out", address, "--private")
    assert done.returncode == 0, done.stderr
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()


def test_a_hub_that_refuses_is_one_line(trained: Path) -> None:
    with hub("model", refuses=True) as (address, files):
        done = push(trained / "lora", address, "--base", "org/base")
    assert done.returncode == 2
    assert "hf auth login" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not files


def test_where_an_adapter_lies_does_not_count(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "lora", tmp_path / "moved")
    assert tuned_hash(tmp_path / "moved" / "adapter") == tuned_hash(trained / "lora" / "adapter")
    assert tuned_hash(trained / "second" / "adapter") != tuned_hash(trained / "lora" / "adapter")
    assert [hub_id(name) for name in ("gpt2", "org/name", "codetune-base", str(tmp_path))] == ["openai-community/gpt2", "org/name", "", ""]
