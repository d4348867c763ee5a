"""`codetune chat`: one question from the command line, a pipe into it, and a talk whose code runs in the sandbox."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from codetune.cli.chat import Talk
from codetune.cli.main import run
from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate import FakeEngine
from codetune.generate.request import Request
from codetune.prompts.template import make_template


def talk(answer: str, seen: list[Request] | None = None) -> Talk:
    def reply(request: Request, index: int) -> str:
        if seen is not None:
            seen.append(request)
        return answer

    return Talk(FakeEngine(reply), make_template("instruction"), DecodingConfig())


def test_the_question_and_what_was_piped_are_asked() -> None:
    seen: list[Request] = []
    assert talk("print(1)\n", seen).ask("Why?", "def f(): pass\n") == "print(1)"
    assert seen[0].prompt == "### Instruction:\nWhy?\ndef f(): pass\n\n### Response:\n"


def test_run_takes_the_code_out_of_an_answer_in_words() -> None:
    one = talk("Sure:\n```python\nprint(6 * 7)\n```\nThere you are.")
    assert "There you are." in one.ask("six times seven")
    assert one.run() == ("42\n", "ran to its end")


def test_run_says_how_a_program_failed() -> None:
    one = talk("print('a')\nraise ValueError('no')\n")
    one.ask("x")
    output, ending = one.run()
    assert output == "a\n"
    assert "exception" in ending
    assert "ValueError: no" in ending


def test_run_before_any_answer() -> None:
    with pytest.raises(UserError, match="no code to run yet"):
        talk("").run()


def test_one_question_answers_on_stdout_alone(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("some code"))
    assert run(["chat", "--model", str(tiny_model), "-q", "Add.", "--max-new-tokens", "3"]) == 0
    out, error = capsys.readouterr()
    assert out.endswith("\n")
    assert "prompt style" not in out
    assert "prompt style: instruction (the default)" in error


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model: Path) -> None:
    for arguments, says in (
        (["--model", "codetune-bse", "-q", "x"], "did you mean 'codetune-base'?"),
        (["-q", " "], "the question is empty"),
        (["--model", str(tiny_model), "-q", "word " * 999], "fills all positions of the model"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        assert run(["chat", *arguments]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_one_line(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["chat", "--model", str(tiny_model), "-q", "Add.", "--device", "cuda"]) == 2
    assert "codetune: device 'cuda' is not on this machine, which has" in capsys.readouterr().err
