"""The named benchmarks and training sources, on the real files where they are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codetune.data import benchmarks, sources
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError


@pytest.fixture
def real_data(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    return data_folder


@pytest.mark.parametrize(
    ("name", "count", "kind"),
    [
        ("humaneval", 164, "execution"),
        ("mbpp", 500, "execution"),
        ("mbpp-all", 974, "execution"),
        ("mbpp-sanitized", 427, "execution"),
        ("conala", 500, "text"),
    ],
)
def test_published_sizes(real_data: Path, name: str, count: int, kind: str) -> None:
    benchmark = benchmarks.load(name)
    assert (len(benchmark.problems), benchmark.kind) == (count, kind)
    assert len({problem.task_id for problem in benchmark.problems}) == count
    assert len(benchmark.sha256) == 64


def test_humaneval_prompts_keep_their_final_newline(real_data: Path) -> None:
    for problem in benchmarks.load("humaneval").problems:
        assert problem.prompt.endswith("\n")
        compile(problem.reference_program, problem.task_id, "exec")
        assert f"def {problem.entry_point}(" in problem.prompt


def test_mbpp_details(real_data: Path) -> None:
    problems = {problem.task_id: problem for problem in benchmarks.load("mbpp-all").problems}
    assert not any("\r" in problem.reference + problem.setup for problem in problems.values())
    assert all(problem.entry_point for problem in problems.values())
    assert problems["MBPP/2"].entry_point == "similar_elements"
    assert [task_id for task_id, problem in problems.items() if problem.setup] == ["MBPP/367", "MBPP/927"]
    assert problems["MBPP/11"].input.splitlines()[0] == 'assert remove_Occ("hello","l") == "heo"'
    test_split = [problem.task_id for problem in benchmarks.load("mbpp").problems]
    assert (test_split[0], test_split[-1]) == ("MBPP/11", "MBPP/510")


def test_conala_falls_back_to_the_title(real_data: Path) -> None:
    problems = benchmarks.load("conala").problems
    assert problems[0].instruction == "send a signal `signal.SIGUSR1` to the current process"
    assert problems[4].instruction == "How to convert a string from CP-1251 to UTF-8?"  # rewritten_intent is null
    assert (problems[4].task_id, problems[4].reference) == ("CoNaLa/4", "d.decode('cp1251').encode('utf8')")


def test_data_flag_overrides_the_folder(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETUNE_DATA", "/nonexistent")
    with pytest.raises(UserError, match=r"/nonexistent/humaneval/HumanEval\.jsonl\.gz not found"):
        benchmarks.load("humaneval")
    assert len(benchmarks.load("humaneval", real_data / "humaneval" / "HumanEval.jsonl.gz").problems) == 164


@pytest.mark.parametrize(
    ("prefix", "given", "meant"),
    [
        ("MBPP/", 11, "MBPP/11"),
        ("MBPP/", "11", "MBPP/11"),
        ("MBPP/", "MBPP/11", "MBPP/11"),
        ("CoNaLa/", 17, "CoNaLa/17"),
        ("CoNaLa/", "17", "CoNaLa/17"),
        ("CoNaLa/", "CoNaLa/17", "CoNaLa/17"),
        ("", 3, "3"),
        ("", "own/3", "own/3"),
    ],
)
def test_task_ids_are_accepted_in_every_form(prefix: str, given: str | int, meant: str) -> None:
    assert Benchmark("b", "execution", (), "", "", prefix).task_id(given) == meant


def test_wrong_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown benchmark 'humanevall'; did you mean 'humaneval'\? valid: basics, "):
        benchmarks.load("humanevall")
    with pytest.raises(UserError, match=r"mine\.jsonl not found"):
        benchmarks.load("mine.jsonl")
    with pytest.raises(UserError, match="--data"):
        benchmarks.load("basics-known", Path("x.jsonl"))


def test_basics_ship_with_the_package() -> None:
    known, unseen = benchmarks.load("basics-known"), benchmarks.load("basics-unseen")
    assert len(known.problems) == len(unseen.problems) == 300
    assert known.file == "package"
    assert known.sha256 != unseen.sha256
    assert {p.family for p in known.problems}.isdisjoint(p.family for p in unseen.problems)


def test_training_sources_have_references(real_data: Path) -> None:
    assert len(sources.load_source("conala")) == 2379
    assert len(sources.load_source("leetcode")) == 1570
    assert [len(sources.load_source("mbpp", split)) for split in ("train", "validation", "examples")] == [374, 90, 10]
    alpaca = sources.load_source(str(real_data / "codealpaca" / "code_alpaca_2k.json"))
    assert (len(alpaca), alpaca[0].task_id, alpaca[0].input[:8]) == (2015, "code_alpaca_2k/0", "dataList")
    assert all(pair.reference.strip() for pair in alpaca)  # 2 of the file's 2,017 rows have an empty output
    assert len(sources.load_source("basics", "train")) >= 4000
    with pytest.raises(UserError, match="'conala' has no split 'validation'; valid: train"):
        sources.load_source("conala", "validation")


def test_training_files_of_the_users_own(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"task_id": 1, "instruction": "Say hi.", "reference": "print('hi')"}) + "\n")
    (pair,) = sources.load_source(str(path))
    assert (pair.instruction, pair.reference) == ("Say hi.", "print('hi')")
    path.write_text(json.dumps({"instruction": "Say hi.", "output": "print('hi')"}) + "\n" + json.dumps({"instruction": "x"}))
    with pytest.raises(UserError, match="line 2: 'output' is missing"):
        sources.load_source(str(path))
    path.write_text(json.dumps({"task_id": 1, "instruction": "Say hi."}) + "\n")
    with pytest.raises(UserError, match="line 1: 'reference' is missing"):
        sources.load_source(str(path))
    with pytest.raises(UserError, match="unknown training data 'basic'; did you mean 'basics'"):
        sources.load_source("basic")
