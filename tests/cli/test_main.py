"""The frame of the command line: every mistake is one line and exit code 2, and nothing shows a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codetune.cli.main import COMMANDS, run

PROGRAM = [sys.executable, "-c", "from codetune.cli.main import main; main()"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("codetune: ")
    assert error.count("\n") == 1
    return error


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    words = capsys.readouterr().out.split()
    assert [command for command in COMMANDS if command not in words] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("codetune 0.")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["scor"], "no such command 'scor'; did you mean 'score'?"),
        (["--vers"], "no such option '--vers'; did you mean '--version'?"),
        (["score", "x.jsonl", "--benchmrk", "humaneval"], "no such option '--benchmrk'; did you mean '--benchmark'?"),
        (["score", "x.jsonl"], "Missing option '--benchmark'"),
        (["score"], "Missing argument"),
        (["score", "nowhere.jsonl", "--benchmark", "basics-known"], "nowhere.jsonl not found"),
        (["score", "x.jsonl", "--benchmark", "basics-knwn"], "did you mean 'basics-known'?"),
        (["mend", "x.py"], "Missing option '--tests' (see 'codetune mend --help')"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert says in refused(capsys, *arguments)


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("codetune: no disk space left")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.Popen([*PROGRAM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 1
