"""`codetune generate` and `codetune evaluate` on a tiny model: what is written, resumed, scored and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetune.cli.main import run


def test_generate_then_score(tiny_model: Path, problems_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "samples.jsonl"
    arguments = ["generate", "--model", str(tiny_model), "--benchmark", str(problems_file), "--out", str(out), "--max-new-tokens", "5"]
    assert run([*arguments, "-n", "3", "--temperature", "0.8", "--batch-size", "4"]) == 0
    said = capsys.readouterr()
    assert said.out == f"6 samples of 2 problems: {out}\n"
    assert "prompt style: instruction (the default)" in said.err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["task_id"], row["index"]) for row in rows] == [(f"own/{p}", i) for p in range(2) for i in range(3)]
    assert all(set(row) <= {"task_id", "index", "solution", "finish", "num_tokens", "raw"} for row in rows)
    assert not out.with_name("samples.jsonl.partial").exists()
    assert run(["score", str(out), "--benchmark", str(problems_file), "--json"]) == 0


def test_the_style_follows_problems_and_flags(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = tmp_path / "code.jsonl"
    code.write_text(json.dumps({"task_id": "c/0", "prompt": "def f(x):\n", "reference": "    return x\n"}) + "\n")
    out = tmp_path / "s.jsonl"
    arguments = ["generate", "--model", str(tiny_model), "--benchmark", str(code), "--out", str(out), "--max-new-tokens", "3"]
    assert run(arguments) == 0
    assert "prompt style: completion (the problems are code to go on with)" in capsys.readouterr().err
    assert "completion" in json.loads(out.read_text())
    assert run([*arguments, "--prompt-style", "docstring"]) == 0
    assert "prompt style: docstring (as asked)" in capsys.readouterr().err
    assert "solution" in json.loads(out.read_text())


def test_a_run_folder_tells_its_style_and_its_model(recipe_file: Path, problems_file: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(["train", str(recipe_file), "--set", "data.prompt_style=alpaca", "--set", "method=full"]) == 0
    model = json.loads((tmp_path / "run" / "config.json").read_text())["model"]
    out = tmp_path / "ev"
    arguments = ["evaluate", "--model", model, "--adapter", str(tmp_path / "run"), "--benchmark", str(problems_file), "--out", str(out)]
    capsys.readouterr()
    assert run([*arguments, "--max-new-tokens", "5", "--json"]) == 0
    said = capsys.readouterr()
    assert "prompt style: alpaca (as in the training)" in said.err
    found = json.loads(said.out)
    assert found["pass_at_k"] == {"1": 0.0}
    assert found["benchmarks"]["own"]["verdicts"] == found["verdicts"]
    assert found["generation"]["prompt_style"] == "alpaca"
    assert json.loads((out / "result.json").read_text())["benchmarks"] == found["benchmarks"]
    assert {path.name for path in out.iterdir()} == {"result.json", "samples-own.jsonl", "scores-own.jsonl"}


def test_an_adapter_on_another_model_of_its_shape_is_refused(
    recipe_file: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, lora = tmp_path / "full", tmp_path / "run"
    assert run(["train", str(recipe_file), "--set", "method=full", "--out", str(full)]) == 0
    assert run(["train", str(recipe_file)]) == 0
    capsys.readouterr()
    arguments = ["--benchmark", "basics-known", "--limit", "1", "--out", str(tmp_path / "s.jsonl"), "--max-new-tokens", "1"]
    assert run(["generate", "--model", str(tiny_model), "--adapter", str(lora / "adapter"), *arguments]) == 0
    assert run(["generate", "--model", str(full / "adapter"), "--adapter", str(lora), *arguments]) == 2
    assert "was tuned on" in capsys.readouterr().err


def test_evaluate_two_benchmarks_with_examples(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--limit", "2", "--max-new-tokens", "2"]
    model = ["evaluate", "--model", str(tiny_model), "--benchmark"]
    assert run([*model, "basics-known", "basics-unseen", *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["benchmarks"]) == ["basics-known", "basics-unseen"]
    assert "pass_at_k" not in found


def test_prompts_that_do_not_fit_are_told_before_counted_and_failed(tiny_model: Path, tmp_path: Path, capsys: Any) -> None:
    problems, words = tmp_path / "p.jsonl", (4, 200, 4000)  # of 256 positions: plenty of room, some, none
    tests = ["assert True"]  # which anything that is run would pass
    rows = [{"task_id": f"p/{count}", "prompt": "x = 1\n#" + "~" * count, "tests": tests} for count in words]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--model", str(tiny_model), "--benchmark", str(problems), "--max-new-tokens", "100"]
    assert run(["evaluate", *arguments, "--json"]) == 0
    said = capsys.readouterr()
    assert "note: 1 of 3 prompts of p do not fit the model's positions: they get no answer, and count as failed" in said.err
    assert "note: 1 of 3 prompts of p leave room for fewer than 100 new tokens: they get those" in said.err
    found = json.loads(said.out)
    assert (found["generation"]["prompts_too_long"], found["generation"]["prompts_cramped"]) == (1, 1)
    assert found["generation"]["finish"]["too_long"] == 1
    assert found["verdicts"]["wrong_answer"] == 1
    assert found["notices"] == ["1 of 3 prompts do not fit the model's positions: not answered, counted as failed"]
    out = tmp_path / "s.jsonl"
    assert run(["generate", *arguments, "--out", str(out)]) == 0
    last = json.loads(out.read_text().splitlines()[-1])
    assert last == {"task_id": "p/4000", "solution": "", "index": 0, "finish": "too_long", "num_tokens": 0}
    capsys.readouterr()
    assert run(["score", str(out), "--benchmark", str(problems), "--json"]) == 0  # an empty answer is an answer
    assert json.loads(capsys.readouterr().out)["notices"] == found["notices"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "codetune-bse"], "did you mean 'codetune-base'?"),
        (["--adapter", "nowhere"], "no adapter in nowhere: there is no such folder"),
        (["--benchmark", "humanevall"], "did you mean 'humaneval'?"),
        (["--benchmark", "nowhere.jsonl"], "nowhere.jsonl not found"),
        (["--prompt-style", "alpacca"], "did you mean 'alpaca'?"),
        (["--prompt-style", "chat"], "has no chat template"),
        (["--prompt-style", "austin-3shot", "--few-shot", "2"], "has 3 examples of its own; leave --few-shot out"),
        (["--top-p", "2"], "less than or equal to 1, given 2.0"),
        (["-n", "5"], "at temperature 0 would write the same answer 5 times"),
        (["--few-shot", "3", "--benchmark", "humaneval", "--data", "x"], "x not found"),
        (["--precision", "fp8"], "fp8"),
        (["--data", "x.json", "--benchmark", "basics"], "--data x.json goes with a benchmark that is read from a file"),
        (["--max-new-token", "3"], "did you mean '--max-new-tokens'?"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_mistakes_are_one_line(
    command: str, arguments: list[str], says: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--model": str(tiny_model), "--benchmark": "basics-known", "--out": str(tmp_path / "s")}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert run([command, *(part for pair in given.items() for part in pair)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("codetune: ")
    assert says in error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--engine", "vllm"], "--engine vllm is for serve, chat and mend; here start `vllm serve`"),
        (["--engine", "vlm"], "did you mean 'vllm'?"),
        (["--engine", "openai"], "--engine openai needs --base-url"),
        (["--engine", "openai", "--base-url", "localhost"], "--base-url localhost is no server's address"),
        (["--engine", "openai", "--adapter", "x"], "--adapter x goes with --engine own, not with openai"),
        (["--engine", "openai", "--precision", "bf16"], "--precision bf16 goes with --engine own"),
        (["--base-url", "http://h"], "--base-url http://h goes with --engine openai, not with own"),
        (["--concurrency", "2"], "--concurrency 2 goes with --engine openai"),
        (["--endpoint", "chats"], "chats"),
        (["--engine", "openai", "--base-url", "http://h", "--api-key-env", "NOT_SET"], "NOT_SET: no such environment variable"),
        (["--model", ""], "--model is missing: give codetune-base"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_engines_and_their_flags(command: str, arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [] if "--model" in arguments else ["--model", "codetune-base"]
    assert run([command, "--benchmark", "basics-known", "--out", str(tmp_path / "s"), *named, *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_malformed_problem_is_named_by_its_line(tiny_model: Path, problems_file: Path, tmp_path: Path, capsys: Any) -> None:
    with problems_file.open("a") as file:
        file.write('{"task_id": "own/2"\n')
    out = tmp_path / "s.jsonl"
    assert run(["generate", "--model", str(tiny_model), "--benchmark", str(problems_file), "--out", str(out)]) == 2
    assert "own.jsonl, line 3: not JSON" in capsys.readouterr().err
    assert not out.exists()


def test_the_published_examples_of_mbpp_come_with_their_style(
    tiny_model: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    arguments = ["--model", str(tiny_model), "--benchmark", "mbpp", "--limit", "1", "--prompt-style", "austin-3shot"]
    assert run(["generate", *arguments, "--out", str(tmp_path / "s.jsonl")]) == 0
    assert "1 of 1 prompts of mbpp do not fit" in capsys.readouterr().err  # with three examples, in 256 positions
    mine = tmp_path / "mine.jsonl"
    mine.write_text(json.dumps({"task_id": "a", "instruction": "Say hi.", "tests": ["assert f() == 'hi'"]}))
    arguments = ["--model", str(tiny_model), "--benchmark", str(mine), "--prompt-style", "austin-0shot", "--max-new-tokens", "2", "--json"]
    assert run(["evaluate", *arguments]) == 0
    generation = json.loads(capsys.readouterr().out)["generation"]
    assert (generation["prompt_style"], generation["few_shot"], generation["stop_sequences"]) == ("austin-0shot", 0, ["[DONE]"])
