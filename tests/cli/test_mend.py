"""`codetune mend`: the patch alone on stdout, the rounds on stderr, files changed whole and in their own form, honest exit codes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import codetune
from codetune.cli import live
from codetune.cli.main import run
from codetune.generate.fake_live import FakeLiveEngine

PROGRAM = '# Of our own: é\n\n\ndef add(a, b):\n    return a - b\n\n\ndef other():\n    return "kept"\n'
MENDED = PROGRAM.replace("a - b", "a + b")
TESTS = "from sums import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n\n\ndef test_more():\n    assert add(2, 2) == 4\n"
Scripted = Callable[..., FakeLiveEngine]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scripted:
    """`scripted(answer, ...)`: the live engine that `codetune mend` opens from then on, in a folder with a program and its tests."""
    monkeypatch.setenv("CODETUNE_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    Path("sums.py").write_text(PROGRAM)
    Path("test_sums.py").write_text(TESTS)

    def script(*answers: str) -> FakeLiveEngine:
        left = list(answers)
        engine = FakeLiveEngine(lambda ask, index: left.pop(0), models=("base", "tuned"))
        monkeypatch.setattr(live, "open_live_engine", lambda flags: engine)
        return engine

    return script


def test_the_patch_alone_is_on_stdout_and_git_applies_it(scripted: Scripted, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    engine = scripted("What do you mean?", "```python\ndef add(a, b):\n    return a + b\n```")
    assert run(["mend", "sums.py", "--tests", "test_sums.py", "--seed", "3", "--adapter", "tuned"]) == 0
    out, error = capfdbinary.readouterr()
    assert [ask.model for ask in engine.asked] == ["tuned", "tuned"]
    assert [ask.decoding.max_new_tokens for ask in engine.asked] == [512, 512]
    assert [ask.decoding.seed for ask in engine.asked] == [3, 4]
    assert Path("sums.py").read_text() == PROGRAM
    subprocess.run(["git", "apply"], input=out, check=True)
    assert Path("sums.py").read_text() == MENDED
    for said in (b"round 0: wrong_answer, 0 of 2 tests pass: assert add(1, 2) == 3", b"the answer holds no code", b"mended in round 2"):
        assert said in error
    assert b"note: 1 of 2 tests were never shown to the model" in error


def test_of_several_models_the_named_one_is_asked(scripted: Scripted) -> None:
    for flags, asked in (([], "base"), (["--model", "tuned"], "tuned"), (["--model", "other"], "base")):
        engine = scripted("def add(a, b):\n    return a + b\n")
        assert run(["mend", "sums.py", "--tests", "test_sums.py", *flags]) == 0
        assert [ask.model for ask in engine.asked] == [asked]


def test_none_found_is_said_and_is_exit_code_1(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted("def add(a, b):\n    return 4\n", "def add(a, b):\n    return 5\n")
    assert run(["mend", "sums.py", "--tests", "test_sums.py", "--rounds", "2", "--write"]) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert "not mended in 2 rounds; the best, round 1, passes 1 of 2 tests" in error
    assert Path("sums.py").read_text() == PROGRAM


def test_a_program_that_passes_loads_no_model(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sums.py").write_text(MENDED)
    assert run(["mend", "sums.py", "--tests", "test_sums.py", "--model", "there/is-none"]) == 0
    out, error = capsys.readouterr()
    assert out == ""
    assert "there is nothing to mend" in error


def test_write_keeps_mode_line_ends_encoding_and_links(scripted: Scripted) -> None:
    raw = b"\xef\xbb\xbf" + PROGRAM.replace("\n", "\r\n").encode()[:-2]
    Path("real.py").write_bytes(raw)
    Path("real.py").chmod(0o754)
    Path("sums.py").unlink()
    Path("sums.py").symlink_to("real.py")
    scripted("def add(a, b):\n    return a + b\n")
    assert run(["mend", "sums.py", "--tests", "test_sums.py", "--write"]) == 0
    assert Path("real.py").read_bytes() == raw.replace(b"a - b", b"a + b")
    assert stat.S_IMODE(Path("real.py").stat().st_mode) == 0o754
    assert os.readlink("sums.py") == "real.py"
    assert sorted(os.listdir()) == ["real.py", "sums.py", "test_sums.py"]


def test_a_patch_of_a_file_in_another_encoding(scripted: Scripted, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    text = "# -*- coding: latin-1 -*-\n" + PROGRAM.replace("return a - b", "return a - b  # é")
    Path("sums.py").write_bytes(text.encode("latin-1"))
    scripted("def add(a, b):\n    return a + b\n")
    assert run(["mend", "sums.py", "--tests", "test_sums.py"]) == 0
    subprocess.run(["git", "apply"], input=capfdbinary.readouterr().out, check=True)
    assert Path("sums.py").read_bytes() == text.replace("a - b  # é", "a + b").encode("latin-1")


def test_json_has_the_rounds_and_the_patch(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    scripted("def add(a, b):\n    return a + b\n")
    Path("cases.json").write_text('[{"input": [1, 2], "output": 3}]')
    assert run(["mend", "sums.py", "--tests", "cases.json", "--entry-point", "add", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] is True
    assert [one["result"]["verdict"] for one in found["rounds"]] == ["wrong_answer", "passed"]
    assert found["rounds"][1]["program"] == MENDED
    assert found["patch"].startswith("--- a/sums.py\n+++ b/sums.py\n")
    assert found["sandbox_tier"].startswith("T")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.py", "--tests", "test_sums.py"], "nowhere.py not found"),
        ([".", "--tests", "test_sums.py"], "is a folder; give one file"),
        (["sums.py", "--tests", "nowhere.py"], "nowhere.py not found; give a Python file"),
        (["sums.py", "--tests", "sums.py"], "no assert and no function test_*"),
        (["sums.py"], "--tests"),
        (["sums.py", "--tests", "test_sums.py", "--rounds", "0"], "--rounds"),
        (["sums.py", "--tests", "test_sums.py", "--adapter", "a", "--adapter", "b"], "--adapter is given 2 times"),
        (["sums.py", "--tests", "test_sums.py", "--top-p", "2"], "top_p"),
        (["sums.py", "--tests", "test_sums.py", "--base-url", "http://x"], "--base-url http://x goes with --engine openai"),
    ],
)
def test_mistakes_are_one_line(scripted: Scripted, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    scripted()
    assert run(["mend", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert says in error
    assert error.count("\n") == 1


def test_a_module_that_the_sandbox_has_not_is_named(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sums.py").write_text("import numpy\n" + PROGRAM)
    scripted("?")
    assert run(["mend", "sums.py", "--tests", "test_sums.py", "--rounds", "1"]) == 1
    assert "the sandbox has Python's own modules alone, and no 'numpy'" in capsys.readouterr().err


def test_a_real_model_is_opened_and_asked(tiny_model: Path, scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model", str(tiny_model), "--rounds", "2", "--max-new-tokens", "8"]
    Path("sums.py").write_text("def add(a, b):\n    return a - b\n")
    Path("cases.json").write_text('["assert add(1, 2) == 3"]')
    assert run(["mend", "sums.py", "--tests", "cases.json", *flags]) == 1  # of random weights nothing else can be hoped for
    assert "not mended in 2 rounds; the best, round 0, passes 0 of 1 tests" in capsys.readouterr().err
    mended = codetune.mend("sums.py", tests="cases.json", model=str(tiny_model), rounds=1)
    assert (mended.passed, len(mended.rounds), mended.patch) == (False, 2, "")
    Path("sums.py").write_text("def add(a, b):\n    return a + b\n")
    assert codetune.mend(Path("sums.py"), tests=Path("cases.json"), model=str(tiny_model)).passed


def test_mend_starts_without_torch(tmp_path: Path) -> None:
    code = "import sys; from codetune.cli.main import run; run(['mend', '--help']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
