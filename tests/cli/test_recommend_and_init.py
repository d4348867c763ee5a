"""`codetune recommend` and `codetune init` from the command line, on a tiny model; the rule itself is in tests/study/test_recommend.py."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from codetune.cli.main import run
from codetune.config import TrainRecipe, load_recipe


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"instruction": f"Add {n}: add(a).", "output": f"def add(a):\n    return a + {n}\n"} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_is_recommended_is_written_planned_and_loads_as_it_is(
    tiny_model: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--model", str(tiny_model), "--data", str(data_file), "--gpu", "24GB", "--method", "lora", "--method", "bitfit"]
    assert run(["recommend", *asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["method"], found["by"]) == ("lora", "default")
    assert [each["what"] for each in found["ruled_out"]] == ["bitfit"]
    assert found["command"].startswith("codetune init --model ")
    assert any("is not here to be measured" in line for line in found["unknown"])
    assert run(["init", *asked, "--out", "start.yaml"]) == 0
    assert "start.yaml: lora for" in capsys.readouterr().out
    loaded = load_recipe(Path("start.yaml"), TrainRecipe)
    assert (loaded.model, loaded.data.source, loaded.method.name) == (str(tiny_model), str(data_file), "lora")
    assert run(["plan", "start.yaml", "--gpu", "24GB", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["problem"] == ""
    assert run(["init", *asked, "--out", "start.yaml"]) == 2
    assert "start.yaml is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_that_fits_is_exit_code_1_and_no_file(
    tiny_model: Path, data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", str(tiny_model), "--data", str(data_file), "--gpu", "0.000001GB", "--method", "lora"]
    assert run(["recommend", *asked]) == 1
    assert "nothing fits: lora needs the least" in capsys.readouterr().out
    assert run(["init", *asked, "--out", str(tmp_path / "x.yaml")]) == 2
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--model", "codetune-base", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["recommend", "--model", "codetune-bass", "--data", "basics"], "did you mean 'codetune-base'?"),
        (["recommend", "--model", "codetune-base", "--data", "basics", "--method", "lara"], "did you mean 'lora'?"),
        (["recommend", "--model", "codetune-base", "--data", "basics", "--gpu", "h10"], "no GPU 'h10'"),
        (["init"], "no --model and no --data, and no terminal to ask at: give --model and --data"),
        (["init", "--model", "codetune-base"], "no --data, and no terminal to ask at"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    complaint = capsys.readouterr().err
    assert message in " ".join(complaint.split())
    assert complaint.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_on_a_terminal_it_asks_and_takes_the_defaults(tiny_model: Path, data_file: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-W", "ignore", "-m", "codetune.cli", "init", "--method", "lora"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=follower, stdout=subprocess.PIPE, stderr=follower, text=True) as child:
        os.close(follower)
        os.write(leader, f"{tiny_model}\n{data_file}\n\n".encode())
        out, _ = child.communicate(timeout=300)
    os.close(leader)
    assert child.returncode == 0, out
    assert load_recipe(tmp_path / "recipe.yaml", TrainRecipe).model == str(tiny_model)
    assert "this machine" in out
