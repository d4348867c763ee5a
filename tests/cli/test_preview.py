"""`codetune data preview`: what is shown counts for the loss where it says so, and nothing in the data steers the terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from codetune.cli.main import run
from codetune.cli.output import to_stdout
from codetune.cli.preview import CLOSE, OPEN, Printer
from codetune.config import InfillingConfig
from codetune.prompts.infill import Infilling, marks_from
from codetune.prompts.template import make_template
from codetune.records import Document, Message

ROWS = [{"instruction": "Add.", "output": "x = 1"}, {"instruction": "Bell\x07\x1b[31m", "output": "y\x7f\tz"}]


@pytest.fixture
def alpaca_file(tmp_path: Path) -> Path:
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(ROWS))
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["data", "preview", *arguments]) == 0
    return capsys.readouterr().out


def test_text_alone_to_the_letter(alpaca_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, str(alpaca_file), "--count", "1", "--style", "docstring") == (
        "--- 1 alpaca/0 (pair: 24 characters, 5 of them count for the loss)\nPrompt: Add.\nCode:\n⟦x = 1<EOS>⟧\n"
    )
    out = shown(capsys, str(alpaca_file), "--count", "1", "--style", "docstring", "--loss-on", "all")
    assert "⟦Prompt: Add.\nCode:\nx = 1<EOS>⟧" in out


def test_data_does_not_steer_the_terminal(alpaca_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(alpaca_file), "--count", "2", "--style", "docstring")
    assert "Prompt: Bell␇␛[31m\nCode:\n⟦y␡\tz<EOS>⟧" in out
    assert "\x1b" not in out


def test_tokens_and_ids(alpaca_file: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(alpaca_file), "--count", "1", "--model", str(tiny_model), "--ids")
    header, *text, ids, ending = out.splitlines()
    asked, answer = ids.removesuffix(CLOSE).split(OPEN)
    counts = len(asked.split()) + len(answer.split()), len(answer.split())
    assert header == f"--- 1 alpaca/0 (pair: {counts[0]} tokens, {counts[1]} of them count for the loss)"
    assert text[-1] == "⟦x = 1<|endoftext|>⟧"
    assert answer.split()[-1] == "0"
    assert ending == "100.0% of 1 examples end with a supervised EOS"


def test_a_training_recipe(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, str(recipe_file), "--set", "data.prompt_style=docstring", "--count", "2")
    assert out.count("<|endoftext|>⟧\n--- 2 basics/") == 1
    assert out.count("Prompt: ") == 2
    assert "tokens, " in out


def test_a_data_recipe(alpaca_file: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Some of each source; text alone where it has no section on tokens."""
    path = tmp_path / "data.yaml"
    sources = [{"source": str(alpaca_file), "max_documents": 1}, {"source": "basics"}]
    path.write_text(yaml.safe_dump({"name": "d", "sources": sources}))
    out = shown(capsys, str(path), "--count", "2")
    assert [line.split()[2].split("/")[0] for line in out.splitlines() if line.startswith("--- ")] == ["alpaca", "basics", "basics"]
    assert "characters" in out
    path.write_text(yaml.safe_dump({"name": "d", "sources": sources, "tokens": {"model": str(tiny_model), "prompt_style": "alpaca"}}))
    out = shown(capsys, str(path), "--count", "1")
    assert "Below is an instruction" in out
    assert "tokens" in out


def test_conversations_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    template, turns = make_template("docstring"), (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    printer = Printer(to_stdout(), "completion", None, ids=False)
    talk = Document("talk", messages=tuple(Message(role, content) for role, content in turns))
    printer.show(talk, template.render_document(talk))
    code = Document("file", text="x = 1")
    printer.show(code, template.render_document(code))
    printer.show(code, Infilling(InfillingConfig(rate=1, spm_share=0), marks_from("<P>", "<S>", "<M>")).render(code, template))
    out = capsys.readouterr().out
    assert "(conversation, 1 of 2 answers are learned: " in out
    assert "Prompt: a\nCode:\nb<EOS>\n\nPrompt: c\nCode:\n⟦d<EOS>⟧\n" in out
    assert "file (code: 5 characters, 5 of them count for the loss)\n⟦x = 1<EOS>⟧\n" in out
    assert "file (code with a hole: 14 characters, 5 of them count for the loss)\n<P>" in out


def test_colour_on_a_terminal(alpaca_file: Path) -> None:
    """What counts is green there, and stands in no brackets."""
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    arguments = [sys.executable, "-m", "codetune.cli", "data", "preview", str(alpaca_file), "--count", "1"]
    done = subprocess.run(arguments, stdout=child, stderr=subprocess.PIPE, env=environment, timeout=120)
    os.close(child)
    out = os.read(parent, 1 << 16).decode()
    os.close(parent)
    assert done.returncode == 0, done.stderr
    assert "\x1b[1;32mx = 1\x1b[0m\x1b[1;7;32m<EOS>\x1b[0m" in out
    assert OPEN not in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["basics", "--style", "chat"], "prompt style 'chat' is the tokenizer's own chat template: give --model"),
        (["basics", "--style", "alpac"], "'alpac' is not one of 'instruction', 'alpaca'"),
        (["basics", "--ids"], "--ids needs a tokenizer: give --model"),
        (["basics", "--set", "seed=1"], "--set changes a recipe, and basics is none"),
        (["basic"], "did you mean 'basics'?"),
        (["nowhere.yaml"], "no recipe at nowhere.yaml"),
        (["quickstart.yaml"], "is a study's recipe"),
        (["train-lora.yaml", "--model", "nowhere"], "no model 'nowhere'"),
        (["train-lora.yaml", "--set", "data.infilling.rate=1"], "this model's tokenizer has no marks for infilling"),
        (["basics", "--count", "0"], "Invalid value for '--count'"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert run(["data", "preview", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
