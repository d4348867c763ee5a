"""`codetune train` and `codetune plan` from their command lines, on a tiny model."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from codetune.cli.main import run
from codetune.config import StudyRecipe, TrainRecipe, load_recipe, shipped_recipes
from codetune.data.training import training_data
from codetune.data_recipe import DataRecipe
from tests.forked import Forked, codetune


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("codetune: ")
    assert error.count("\n") == 1
    return error


def test_train_reports_and_a_second_call_finds_it_done(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(recipe_file), "--json"]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert found["adapter"] == str(tmp_path / "run" / "adapter")
    assert found["trainable_parameters"] == 1984
    assert len(re.findall(r"^step \d+/12: loss [\d.]+.* tokens/s, \d+ s left$", error, re.MULTILINE)) == 10
    assert run(["train", str(recipe_file)]) == 0
    out, error = capsys.readouterr()
    assert "is finished already" in error
    assert "5.52% (1,984 of 35,936 parameters)" in out
    assert "peak memory" in out
    assert "method differ" in refused(capsys, "train", str(recipe_file), "--set", "method.lora_rank=4")


def test_a_prepared_code_base_is_learned_with_files_longer_than_a_row(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "project"
    code.mkdir()
    for number in range(30):
        bodies = (f'"""Add {number} and {n} to it."""\n    y = x + {number}\n    return y + {n}\n' for n in range(9))
        (code / f"m{number}.py").write_text("\n\n".join(f"def f{number}_{n}(x):\n    {body}" for n, body in enumerate(bodies)))
    data, recipe = tmp_path / "data", tmp_path / "data.yaml"
    tree = {
        "name": "mine", "path": str(code), "sources": "code", "filters": {"min_file_bytes": None}, "split": {"validation": 0.1},
        "out": str(data), "decontaminate": {"against": ["basics-known"]}, "duplicates": {"near": False},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(tree))
    assert run(["data", "prepare", str(recipe), "--processes", "1"]) == 0
    capsys.readouterr()
    section = f"data={{source: {data}, validation_examples: 20}}"
    assert run(["train", str(recipe_file), "--json", "--set", section, "--set", "train.max_seq_len=100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["checks"]["eos_label_share"] == 1  # pieces of files go on: they do not end
    before, after = found["held_out"]["bits_per_byte"]
    assert 0 < after < before
    assert found["dropped_long"] == 0


def test_killed_and_started_again_it_resumes(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(recipe_file), "--set", "train.train_tokens=16000", "--set", "train.checkpoint_every_s=0.001"]
    process = Forked(codetune, *arguments)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.runs() and not (metrics.exists() and len(metrics.read_text().splitlines()) > 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.ended().returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "train.json").exists()
    assert "holds a stopped run of another recipe (method differs)" in refused(capsys, *arguments, "--set", "method.learning_rate=0.5")
    assert run(arguments) == 0
    assert int(re.findall(r"resumed at step (\d+) of", capsys.readouterr().err)[0]) >= 4
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").exists()


def test_sigterm_saves_first_and_what_changes_no_result_may_differ_afterwards(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine that is taken away; the interval of checkpoints is so long that none would be there without it."""
    arguments = ["train", str(recipe_file), "--set", "train.train_tokens=16000", "--set", "train.checkpoint_every_s=1000"]
    process = Forked(codetune, *arguments)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.runs() and not (metrics.exists() and len(metrics.read_text().splitlines()) > 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    done = process.ended()
    assert done.returncode == 143
    assert done.stderr.splitlines()[-1] == "codetune: terminated; what was finished is kept, and the same command goes on from there"
    steps = len(metrics.read_text().splitlines())
    error = refused(capsys, *arguments, "--set", "train.batch_tokens=600")
    assert "holds a stopped run of another recipe (train differs)" in error
    for change in ("train.checkpoint_every_s=50", "train.checkpoints_kept=1", "trackers=tensorboard", "device=cpu"):
        arguments += ["--set", change]
    assert run([*arguments[:-4], *arguments[-2:]]) == 0
    assert f"resumed at step {steps} of" in capsys.readouterr().err


def test_a_bad_step_names_its_documents_and_another_rate_goes_on_from_before(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(recipe_file), "--json", "--set", "train.validations=0"]
    arguments += ["--set", "method={name: full}", "--set", "train.checkpoint_every_s=1e-9"]
    high = ["--set", "method.learning_rate=1e38", "--set", "train.schedule=constant", "--set", "train.warmup_share=0"]
    assert run([*arguments, *high]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    [bad] = found["bad_steps"]
    assert (bad["step"], bad["passed_over"], found["steps"], found["checks"]["non_finite_losses"]) == (2, False, 1, 1)
    documents = list(training_data(load_recipe(recipe_file, TrainRecipe).data).documents())
    assert found["dropped_long"] == 0  # so examples have the numbers of their documents
    assert bad["documents"] == [documents[example].id for example in bad["examples"]]
    assert len(bad["documents"]) > 1
    line = next(line for line in error.splitlines() if line.startswith("warning: training stopped before a loss nan"))
    assert f"at step 2 (examples: {', '.join(bad['documents'])})" in line
    assert "lower method.learning_rate" in line
    assert "another recipe (data differs)" in refused(capsys, *arguments, *high, "--set", "data.max_examples=50")
    low = ["--set", "method.learning_rate=1e-3", *high[2:]]
    assert run([*arguments, *low]) == 0
    out, error = capsys.readouterr()
    assert json.loads(out)["bad_steps"] == []
    assert json.loads(out)["steps"] == 12
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.max_seq_ln=100", "did you mean 'max_seq_len'?"),
        ("method.lora_rang=3", "did you mean 'lora_rank'?"),
        ("train.max_seq_len=9999", "has 256 positions; set train.max_seq_len to 256 or less"),
        ("model=codetune-bse", "did you mean 'codetune-base'?"),
        ("data.source=nowhere.jsonl", "nowhere.jsonl not found"),
        ("method.name=lorra", "did you mean 'lora'?"),
        ("train.train_tokens", "give it as key=value"),
    ],
)
def test_mistakes_in_a_recipe_are_one_line(recipe_file: Path, capsys: pytest.CaptureFixture[str], override: str, says: str) -> None:
    assert says in refused(capsys, "train", str(recipe_file), "--set", override)


def test_a_missing_recipe_names_those_that_ship(capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "train", "nowhere.yaml")
    assert "no recipe at nowhere.yaml" in error
    assert "train-lora.yaml" in error


def test_a_malformed_row_is_named_by_its_line(recipe_file: Path, problems_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with problems_file.open("a") as file:
        file.write('{"task_id": "own/2", "instruction": 7}\n')
    error = refused(capsys, "train", str(recipe_file), "--set", f"data.source={problems_file}")
    assert "own.jsonl, line 3: 'instruction' must be a string, got 7" in error


def on_a_full_disk(*arguments: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    codetune(*arguments)


def test_a_disk_that_takes_no_more_is_one_line_and_the_run_goes_on_later(recipe_file: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the checkpoint's write fails."""
    done = Forked(on_a_full_disk, "train", str(recipe_file)).ended()
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("codetune: ")
    assert "cannot write" in last
    assert "Traceback" not in done.stderr
    assert run(["train", str(recipe_file)]) == 0


def test_plan_of_a_run_before_and_after(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The forecast of memory against the peak that a real run measures in a process of its own."""
    assert run(["plan", str(recipe_file), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["runs"][0]
    assert (before["state"], before["steps"], before["trainable_parameters"], before["total_parameters"]) == ("not begun", 12, 1984, 35936)
    assert before["seconds"] > 0
    Forked(codetune, "train", str(recipe_file)).ended().check_returncode()
    done = Forked(codetune, "plan", str(recipe_file), "--json").ended()
    after = json.loads(done.stdout)["runs"][0]
    assert after["state"] == "done"
    measured = json.loads((Path(after["folder"]) / "train.json").read_text())
    assert measured["steps"] == before["steps"]
    assert measured["tokens"] == before["tokens"]
    assert 0.5 < after["peak"] / measured["peak_memory_bytes"] < 2


def test_plan_of_a_study(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study: dict[str, Any] = {
        "name": "s", "models": str(tiny_model), "data": {"source": "basics", "max_examples": 40}, "benchmarks": "basics-known",
        "methods": ["full", "lora", "prefix_tuning", "prompt_tuning"], "few_shot": 1, "seeds": 2, "out": str(tmp_path / "study"),
        "train": {"train_tokens": 4000, "batch_tokens": 512, "max_seq_len": 236},
    }  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    assert run(["plan", str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [row["row"] for row in rows] == ["base", "base few-shot", *(m for m in study["methods"] for _ in range(2))]
    optimiser = {row["row"]: row["memory"]["optimiser"] for row in rows if row["peak"]}
    assert optimiser["full"] > optimiser["lora"] > optimiser["prompt_tuning"] > 0
    assert run(["plan", str(path), "--set", "train.max_seq_len=250"]) == 1  # 250 and 20 virtual tokens are more than 256 positions
    out = capsys.readouterr().out
    assert "cannot run prefix_tuning, prompt_tuning (4)" in out.replace("(2)", "(4)")
    assert "set train.max_seq_len to 236 or less" in out
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "bart", "d_model": 16}, "is an encoder-decoder model; of those codetune tunes t5"),
        ({"model_type": "falcon", "alibi": True, "hidden_size": 16, "num_attention_heads": 2}, "ALiBi positions, which cannot be packed"),
    ],
    ids=["encoder-decoder", "alibi"],
)
def test_plan_names_models_that_cannot_be_tuned(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any], says: str
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(config))
    assert run(["plan", str(recipe_file), "--set", f"model={tmp_path / 'other'}"]) == 1
    out = capsys.readouterr().out
    assert "cannot run lora (1)" in out
    assert says in " ".join(out.split())


def test_plan_of_an_unknown_model(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(recipe_file), "--set", "model=gpt-2"]) == 1
    assert "no model 'gpt-2': did you mean 'gpt2'?" in " ".join(capsys.readouterr().out.split())


def test_every_shipped_recipe_loads_and_names_itself() -> None:
    for name, path in shipped_recipes().items():
        keys = yaml.safe_load(path.read_text())
        kind = DataRecipe if "sources" in keys else StudyRecipe if "methods" in keys else TrainRecipe
        load_recipe(path, kind)
        assert name in path.read_text().split("\nname:")[0] or "quickstart" in name, f"{name}: its head should be its command"
    assert os.path.basename("recipes/train-lora.yaml") in shipped_recipes()
