"""`codetune data` from its command line; no command of it loads torch (tests/test_layers.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from codetune.cli.main import run
from codetune.data import basics


def test_list_says_what_is_found_where(data_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    assert run(["data", "list", "--json"]) == 0
    found = {(entry["name"], entry["use"]): entry["found"] for entry in json.loads(capsys.readouterr().out)["data"]}
    assert found["basics-known", "benchmark"] == "package"
    assert found["humaneval", "benchmark"] == str(data_folder / "humaneval")


def test_list_without_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CODETUNE_DATA", raising=False)
    assert run(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "CODETUNE_DATA, which is not set" in out
    assert "(humaneval/HumanEval.jsonl.gz)" in out
    assert "CC BY 4.0" in out


def test_stats_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"instruction": "Add one to the number.", "output": "x = 1"},
        {"instruction": "Add one to the number.", "output": "x =  1"},  # the first again, but for white space
        {"instruction": "Add two.", "output": "def f(x):\n    return (x +\n"},
        {"instruction": "Subtract it from the others.", "output": ""},
        {"instruction": "Subtract one from the number that is given.", "output": "y = x - 1"},
    ]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(rows))
    assert run(["data", "stats", str(path), "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert (source["rows"], source["documents"]) == (5, 2)
    assert source["left_out"] == {"exact duplicate": 1, "no answer": 1, "parses": 1}
    assert source["lengths"] == {"3": 1, "4": 1}  # 7 words, and 8 to 15
    assert list(tmp_path.iterdir()) == [path]
    assert run(["data", "stats", str(path)]) == 0
    assert "5 rows in, 2 documents out" in capsys.readouterr().out


def test_stats_of_own_problems_and_of_a_name(problems_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "stats", str(problems_file)]) == 0
    assert "own.jsonl: 2 problems" in capsys.readouterr().out
    assert run(["data", "stats", "basics-known", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_tests"] == 1


def test_decontaminate_finds_a_copy_and_writes_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leak = basics.load("unseen")[0]
    rows = [
        {"task_id": 1, "instruction": "Say hello to the world in Python, please.", "reference": "print('hello')"},
        {"task_id": 2, "instruction": "x", "notes": [{"deep": f"As an aside: {leak.instruction}"}]},
    ]
    path, clean = tmp_path / "mine.jsonl", tmp_path / "clean.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["data", "decontaminate", str(path), "--benchmark", "basics-known", "--benchmark", "basics-unseen"]
    assert run([*arguments, "--out", str(clean)]) == 0
    out = capsys.readouterr().out
    assert f"mine.jsonl, line 2: {leak.task_id} of basics-unseen by text, 100% (task_id 2)\n" in out
    assert "1 of 2 rows overlap a benchmark (basics-unseen 1); the other 1 are in" in out
    assert [json.loads(line) for line in clean.read_text().splitlines()] == rows[:1]
    assert run([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["shared"] == {"basics-unseen": 1}
    assert answer["hits"][0]["overlaps"] == [{"benchmark": "basics-unseen", "task_id": leak.task_id, "rule": "text", "share": 1.0}]


def test_decontaminate_looks_at_code_wherever_it_stands_and_at_runs_as_long_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = basics.load("unseen")[0]
    renamed = problem.reference.replace(problem.entry_point, "another_name")
    words = " ".join(problem.instruction.split()[:9])
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"notes": {"deep": [renamed]}}, {"text": words})))
    arguments = ["data", "decontaminate", str(path), "--benchmark", "basics-unseen", "--json"]
    assert run(arguments) == 0
    [hit] = json.loads(capsys.readouterr().out)["hits"]
    assert hit["row"].endswith("line 1")
    assert "ast" in {overlap["rule"] for overlap in hit["overlaps"]}
    assert run([*arguments, "--run-words", "6"]) == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 2
    assert run([*arguments[:-2], "basics-unsen"]) == 2
    assert "did you mean 'basics-unseen'" in capsys.readouterr().err


def test_prepare_of_a_source_that_needs_none(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "prepare", str(recipe_file)]) == 0
    assert "nothing to prepare for 'basics'" in capsys.readouterr().out


def test_prepare_leaves_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model may be in training on those tokens."""
    folder, recipe = tmp_path / "corpus", tmp_path / "r.yaml"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"train_tokens": 1234}')
    (folder / "prepared.json").write_text('{"vocab_size": 300, "max_length": 64, "train_tokens": 1020, "seed": 0}')
    tree = {
        "name": "c", "model": "x", "architecture": {"vocab_size": 300}, "data": {"source": "corpus", "path": str(folder)},
        "train": {"train_tokens": 1000, "max_seq_len": 64},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(tree))
    assert run(["data", "prepare", str(recipe)]) == 0
    assert capsys.readouterr().out == f"1,234 training tokens: {folder}\n"
    assert run(["data", "prepare", str(recipe), "--set", "architecture.vocab_size=400"]) == 2
    assert "was prepared with other numbers (vocab_size was 300, now 400)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lst"], "Did you mean 'list'?"),
        ([], "Missing command"),
        (["stats", "nowhere.jsonl"], "nowhere.jsonl not found"),
        (["stats", "basic"], "did you mean 'basics'?"),
        (["decontaminate", "nowhere.jsonl"], "nowhere.jsonl not found"),
        (["prepare", "nowhere.yaml"], "no recipe at nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert run(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"instruction": "Add one to x.", "output": "x += 1"}\n[1]\n')
    assert run(["data", "stats", str(path)]) == 0
    assert "mine.jsonl, line 2: expected a JSON object, got [1]" in capsys.readouterr().out
    assert run(["data", "decontaminate", str(path)]) == 2
    assert "mine.jsonl, line 2: expected a JSON object, got [1]" in capsys.readouterr().err
