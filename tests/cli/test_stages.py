"""Tuning in stages: a run as the model of the next one, a run gone on from, and what of both is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
import yaml

from codetune.cli.main import run
from codetune.config import StudyRecipe, TrainRecipe, validate
from codetune.errors import UserError
from codetune.methods import Adapted, load_adapter
from codetune.methods.adapted import MERGED
from codetune.models.load import load_model
from codetune.models.open import open_model
from codetune.models.outline import load_outline
from codetune.models.stages import MERGEABLE, Stages, stages_of, tuned_hash
from codetune.study.plan import plan_cells
from codetune.train.checks import difference, probe_logits
from codetune.train.finetune import finetune
from tests.cli.conftest import RECIPE
from tests.cli.probe import probe

LORA = {"name": "lora", "lora_rank": 2, "lora_alpha": 4, "learning_rate": 1e-2}
PROMPT = {"name": "prompt_tuning", "num_virtual_tokens": 4}


def recipe_of(model: Path | str, method: dict[str, Any] | str = "lora", **more: Any) -> TrainRecipe:
    method = LORA if method == "lora" else method
    train = RECIPE["train"] | {"train_tokens": 2000, "max_seq_len": 220, "validations": 1}
    return validate(RECIPE | {"model": str(model), "method": method, "train": train} | more, TrainRecipe, "test")


@pytest.fixture(scope="module")
def runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of each kind on the tiny model: `lora`, `prompt`, `full`; and `second`, LoRA on the first."""
    folder = tmp_path_factory.mktemp("runs")
    finetune(recipe_of(tiny_model), folder / "lora")
    finetune(recipe_of(tiny_model, PROMPT), folder / "prompt")
    finetune(recipe_of(tiny_model, {"name": "full", "learning_rate": 1e-3}), folder / "full")
    finetune(recipe_of(folder / "lora", seed=1), folder / "second")
    return folder


def logits(loaded: Any, adapted: Adapted | None = None) -> torch.Tensor:
    return probe_logits(adapted or Adapted(loaded.model, "base"), loaded.family, probe(loaded.tokenizer))


def test_a_run_is_its_base_with_its_adapter_merged(runs: Path, tiny_model: Path) -> None:
    merged = load_model(str(runs / "lora"))
    loaded, adapted = open_model(str(tiny_model), runs / "lora")
    assert difference(logits(merged), logits(loaded, adapted)) < 1e-5
    assert difference(logits(merged), logits(load_model(str(tiny_model)))) > 1e-3, "the adapter does nothing: the test could not fail"
    assert load_model(str(runs / "lora" / "adapter")).model_hash == merged.model_hash != load_model(str(tiny_model)).model_hash


def test_a_run_on_a_run_opens_by_its_name_alone_and_on_its_base(runs: Path, tiny_model: Path) -> None:
    assert stages_of(str(runs / "second")) == Stages(str(tiny_model), (runs / "lora" / "adapter", runs / "second" / "adapter"))
    alone, _ = open_model(str(runs / "second"))
    loaded, adapted = open_model(str(runs / "lora"), runs / "second")
    assert difference(logits(alone), logits(loaded, adapted)) < 1e-5
    assert json.loads((runs / "second" / "train.json").read_text())["model_hash"] == load_model(str(runs / "lora")).model_hash
    with pytest.raises(UserError, match=r"was tuned on .*lora' as it was then"):
        open_model(str(tiny_model), runs / "second")


def test_the_adapter_of_a_second_stage_says_what_it_fits(runs: Path) -> None:
    assert json.loads((runs / "second" / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(runs / "lora")


def test_a_full_runs_folder_is_its_whole_model(runs: Path) -> None:
    assert stages_of(str(runs / "full")) == Stages(str(runs / "full" / "adapter"))
    assert load_model(str(runs / "full")).model_hash == load_model(str(runs / "full" / "adapter")).model_hash
    assert load_outline(recipe_of(runs / "full")).family == load_outline(recipe_of(runs / "lora")).family


def test_soft_prompts_on_a_merged_run(runs: Path, tmp_path: Path) -> None:
    summary = finetune(recipe_of(runs / "lora", PROMPT), tmp_path / "run")
    assert summary["checks"]["reload_difference"] == 0
    loaded, adapted = open_model(str(tmp_path / "run"))
    again, other = open_model(str(runs / "lora"), tmp_path / "run")
    assert adapted.num_virtual_tokens == 4
    assert torch.equal(logits(loaded, adapted), logits(again, other))


def test_soft_prompts_are_not_merged_but_point_to_start(runs: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompt_tuning, which cannot be merged .* give `model: .*tiny` and `start: .*prompt`"):
        finetune(recipe_of(runs / "prompt"), tmp_path / "run")


def test_names_relative_to_another_folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finetune(recipe_of(tiny_model), Path("runs/one"))
    finetune(recipe_of("runs/one"), Path("runs/two"))
    monkeypatch.chdir("/")
    assert stages_of(str(tmp_path / "runs" / "two")).base == str(tiny_model)
    (tmp_path / "runs" / "one").rename(tmp_path / "runs" / "away")
    with pytest.raises(UserError, match=r"two was tuned on runs/one, which is not there"):
        stages_of(str(tmp_path / "runs" / "two"))


def test_a_circle_is_one_line(runs: Path, tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name / "adapter").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(json.dumps({"model": str(tmp_path / other), "method": LORA}))
        (tmp_path / name / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(UserError, match="go in a circle"):
        stages_of(str(tmp_path / "a"))
    with pytest.raises(UserError, match="own folder"):
        finetune(recipe_of(runs / "lora"), runs / "lora")


@pytest.mark.parametrize("kind", ["lora", "prompt"])
def test_a_run_goes_on_from_another(runs: Path, tiny_model: Path, tmp_path: Path, kind: str) -> None:
    """It starts where the other ended: with a rate near 0 it ends there, too; with a real one it learns further."""
    method = LORA if kind == "lora" else PROMPT
    first = json.loads((runs / kind / "train.json").read_text())
    finetune(recipe_of(tiny_model, method | {"learning_rate": 1e-12}, start=str(runs / kind)), tmp_path / "still")
    before, after = (open_model(str(tiny_model), folder) for folder in (runs / kind, tmp_path / "still"))
    assert difference(logits(*before), logits(*after)) < 1e-5
    summary = finetune(recipe_of(tiny_model, method, start=str(runs / kind / "adapter")), tmp_path / "on")
    assert summary["held_out"]["loss"][1] < first["held_out"]["loss"][1]
    assert summary["checks"]["unmoved_trainable_tensors"] == summary["checks"]["moved_frozen_tensors"] == 0
    assert summary["checks"]["reload_difference"] == 0


def test_full_fine_tuning_goes_on(runs: Path, tiny_model: Path, tmp_path: Path) -> None:
    full = {"name": "full", "learning_rate": 1e-3}
    summary = finetune(recipe_of(tiny_model, full, start=str(runs / "full")), tmp_path / "run")
    first = json.loads((runs / "full" / "train.json").read_text())
    assert summary["held_out"]["loss"][0] == pytest.approx(first["held_out"]["loss"][1], rel=1e-6)
    assert summary["held_out"]["loss"][1] < summary["held_out"]["loss"][0]
    assert summary["model_hash"] == load_model(str(runs / "full")).model_hash


def test_an_adapter_of_plain_peft_is_gone_on_from(tiny_model: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(model, config).save_pretrained(tmp_path / "plain")
    with pytest.raises(UserError, match=r"has target_modules q_proj, v_proj, the recipe down_proj, "):
        finetune(recipe_of(tiny_model, start=str(tmp_path / "plain")), tmp_path / "no")
    method = LORA | {"target_modules": ["q_proj", "v_proj"], "learning_rate": 1e-12}
    finetune(recipe_of(tiny_model, method, start=str(tmp_path / "plain")), tmp_path / "run")
    plain = load_model(str(tiny_model))
    wanted = logits(plain, load_adapter(plain.model, tmp_path / "plain"))
    assert difference(logits(*open_model(str(tiny_model), tmp_path / "run")), wanted) < 1e-5


@pytest.mark.parametrize(
    ("method", "start", "says"),
    [
        (LORA | {"lora_rank": 3}, "lora", "has lora_rank 2, the recipe 3: set method.lora_rank=2"),
        (LORA | {"rslora": True}, "lora", "has rslora False, the recipe True"),
        (PROMPT, "lora", "was tuned by lora, the recipe's method is prompt_tuning"),
        (LORA, "prompt", "was tuned by prompt_tuning, the recipe's method is lora"),
        (PROMPT | {"num_virtual_tokens": 5}, "prompt", "has num_virtual_tokens 4, the recipe 5"),
        ("full", "lora", "has an adapter, and method is full"),
        (LORA, "full", "has a whole model, and method is lora"),
        (LORA, "nowhere", "there is no such folder"),
        (LORA, "second", "lora' as it was then, not on"),
    ],
)  # fmt: skip
def test_a_start_that_does_not_fit_is_one_line(
    runs: Path, tiny_model: Path, tmp_path: Path, method: dict[str, Any] | str, start: str, says: str
) -> None:
    with pytest.raises(UserError) as caught:
        finetune(recipe_of(tiny_model, method if method != "full" else {"name": "full"}, start=str(runs / start)), tmp_path / "run")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "adapter").exists()


def test_what_a_run_stands_on_is_part_of_what_it_is(tiny_model: Path, tmp_path: Path) -> None:
    """The same recipe on a stage that was trained anew is another run, and another cell of a study."""
    study = {
        "name": "s", "models": str(tmp_path / "one"), "data": RECIPE["data"], "methods": LORA, "benchmarks": "basics-known",
        "out": str(tmp_path / "study"),
    }  # fmt: skip
    keys, hashes = [], []
    for seed in (0, 1):
        finetune(recipe_of(tiny_model, seed=seed), tmp_path / "one")
        keys.append([cell.key for cell in plan_cells(validate(study, StudyRecipe, "test"))])
        hashes.append(tuned_hash(tmp_path / "one" / "adapter"))
        if seed == 0:
            finetune(recipe_of(tmp_path / "one"), tmp_path / "two")
            finetune(recipe_of(tiny_model, start=str(tmp_path / "one")), tmp_path / "on")
            (tmp_path / "one").rename(tmp_path / "before")
    assert not set(keys[0]) & set(keys[1])
    assert hashes[0] != hashes[1]
    for name, recipe in (("two", recipe_of(tmp_path / "one")), ("on", recipe_of(tiny_model, start=str(tmp_path / "one")))):
        with pytest.raises(UserError, match=r"finished run of another recipe \(stages differs\)"):
            finetune(recipe, tmp_path / name)


def test_the_command_line_takes_runs_as_models(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for arguments in (["--model", str(runs / "second")], ["--model", str(runs / "lora"), "--adapter", str(runs / "second")]):
        assert run(["evaluate", *arguments, "--benchmark", "basics-known", "--limit", "2", "--max-new-tokens", "8", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["generation"]["prompt_style"] == "instruction"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | {"model": str(runs / "second"), "out": str(tmp_path / "run")}))
    assert run(["plan", str(recipe), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["trainable_parameters"] == 1984
    assert run(["plan", str(recipe), "--set", f"model={runs / 'prompt'}"]) == 1
    assert "cannot be merged" in " ".join(capsys.readouterr().out.split())


def test_the_shipped_stages_plain_code_then_pairs(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both recipes as they ship, on a tiny model and a small code base: prepared, trained, and the second on top of the first."""
    code = tmp_path / "project"
    code.mkdir()
    for number in range(12):
        bodies = (f'"""Add {number} and {n} to it."""\n    y = x + {number}\n    return y + {n}\n' for n in range(6))
        (code / f"m{number}.py").write_text("\n\n".join(f"def f{number}_{n}(x):\n    {body}" for n, body in enumerate(bodies)))
    prepare = ["data", "prepare", "own-code.yaml", "--processes", "1"]
    settings = {"path": code, "out": tmp_path / "data", "decontaminate": "{against: [basics-known]}", "duplicates": "{near: false}"}
    assert run(prepare + [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]) == 0
    small = ["--set", "train.train_tokens=2000", "--set", "train.batch_tokens=512", "--set", "train.max_seq_len=200"]
    small += ["--set", "data.validation_examples=5", "--set", "train.validations=1"]
    one, two = tmp_path / "one", tmp_path / "two"
    first = ["--set", f"model={tiny_model}", "--set", f"data.source={tmp_path / 'data'}", "--out", str(one)]
    assert run(["train", "stage-1-code.yaml", *small, *first]) == 0
    assert run(["train", "stage-2-pairs.yaml", *small, "--set", f"model={one}", "--set", "data.max_examples=40", "--out", str(two)]) == 0
    capsys.readouterr()
    assert stages_of(str(two)).adapters == (one / "adapter", two / "adapter")
    summary = json.loads((two / "train.json").read_text())
    assert summary["held_out"]["loss"][1] < summary["held_out"]["loss"][0]
    assert summary["checks"]["reload_difference"] == 0


@pytest.mark.parametrize("method", ["ia3", "bottleneck", "prefix_tuning", "p_tuning", "vera"])
def test_other_methods_go_on_too(method: str, tiny_model: Path, tmp_path: Path) -> None:
    settings = {"name": method} | ({"vera_rank": 8} if method == "vera" else {})
    finetune(recipe_of(tiny_model, settings), tmp_path / "one")
    first, second = tmp_path / "one", tmp_path / "two"
    finetune(recipe_of(tiny_model, settings | {"learning_rate": 1e-12}, start=str(first)), second)
    before, after = (open_model(str(tiny_model), folder) for folder in (first, second))
    assert difference(logits(*before), logits(*after)) < 1e-5


def test_what_merges_here_is_what_methods_say_merges() -> None:
    assert set(MERGED) <= MERGEABLE
