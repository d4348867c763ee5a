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
        {"instruction": "Add.", "output": "x = 1"},
        {"instruction": "ADD. ", "output": "x =  1"},  # the first again, but for case and white space
        {"instruction": "Add.", "output": "x ="},
        {"instruction": "Subtract it.", "output": ""},
    ]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(rows))
    assert run(["data", "stats", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["problems"], found["left_out"], found["with_tests"]) == (3, 1, 0)
    assert found["references_that_parse"] == pytest.approx(2 / 3)
    assert found["repeated_wishes"] == pytest.approx(2 / 3)
    assert found["repeated_pairs"] == pytest.approx(1 / 3)
    assert found["reference_chars"] == {"median": 5, "p95": 5, "longest": 6}


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
    assert "mine.jsonl, line 2: shares 13 words, or a whole short text, with basics-unseen (task_id 2)" in out
    assert [json.loads(line) for line in clean.read_text().splitlines()] == rows[:1]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shared"] == {"basics-unseen": 1}


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
    path.write_text('{"task_id": 1, "instruction": "a"}\n[1]\n')
    for command in ("stats", "decontaminate"):
        assert run(["data", command, str(path)]) == 2
        assert "mine.jsonl, line 2: expected a JSON object, got [1]" in capsys.readouterr().err
