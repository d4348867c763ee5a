"""`codetune score` from its command line: the JSON object, the table, notices apart from the answer, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from codetune.cli.main import run
from codetune.data import basics

PROBLEM = {"task_id": "own/0", "prompt": "def add(a, b):\n", "entry_point": "add", "tests": ["assert add(1, 2) == 3"]}
RIGHT = {"task_id": "own/0", "completion": "    return a + b\n"}


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def problems(tmp_path: Path) -> str:
    return write(tmp_path / "own.jsonl", PROBLEM)


def test_json_is_one_object_and_notices_go_to_stderr(tmp_path: Path, problems: str, capsys: pytest.CaptureFixture[str]) -> None:
    samples, details = write(tmp_path / "s.jsonl", RIGHT, RIGHT), tmp_path / "new" / "scores.jsonl"
    assert run(["score", samples, "--benchmark", problems, "--k", "1,10", "--json", "--out", str(details)]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert (found["benchmark"], found["num_samples"], found["pass_at_k"]) == ("own", 2, {"1": 1.0})
    assert error == "note: pass@10 is left out: it needs 10 samples of every problem, and there are 2\n"
    rows = [json.loads(line) for line in details.read_text().splitlines()]
    assert [(row["index"], row["result"]["verdict"]) for row in rows] == [(0, "passed"), (1, "passed")]


def test_the_table_is_for_people(tmp_path: Path, problems: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", write(tmp_path / "s.jsonl", RIGHT), "--benchmark", problems]) == 0
    out = capsys.readouterr().out
    assert "own: 1 problems, 1 samples" in out
    assert "pass@1" in out
    assert "100.0%" in out
    assert "1 passed" in out


def test_a_wrong_k_is_refused(tmp_path: Path, problems: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", write(tmp_path / "s.jsonl", RIGHT), "--benchmark", problems, "--k", "1,x"]) == 2
    assert "--k '1,x' is not a list of whole numbers" in capsys.readouterr().err


def test_packaged_problems_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"task_id": problem.task_id, "solution": problem.reference} for problem in basics.load("known")[:5]]
    samples = write(tmp_path / "s.jsonl", *rows)
    assert run(["score", samples, "--benchmark", "basics-known", "--allow-missing", "--metrics", "exact_match", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_problems"], found["pass_at_k"], found["metrics"]) == (5, {"1": 1.0}, {"exact_match": 1.0})


def test_conala_by_row_number(tmp_path: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = data_folder / "conala" / "conala-test.json"
    rows = [{"task_id": form, "completion": json.loads(source.read_text())[17]["snippet"]} for form in (17, "17", "CoNaLa/17")]
    arguments = ["--benchmark", "conala", "--data", str(source), "--allow-missing", "--metrics", "exact_match", "--json"]
    assert run(["score", write(tmp_path / "s.jsonl", *rows), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {"exact_match": 1.0}


def test_ctrl_c_is_one_line_and_leaves_nothing_running(tmp_path: Path) -> None:
    problems = write(tmp_path / "own.jsonl", {**PROBLEM, "timeout_s": 600})
    samples = write(tmp_path / "s.jsonl", {"task_id": "own/0", "completion": "    while True: pass\n"})
    program = [sys.executable, "-c", "from codetune.cli.main import main; main()", "score", samples, "--benchmark", problems]
    # A shell that puts this test in the background would have its children ignore Ctrl-C.
    listens = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True, **listens)
    tree = psutil.Process(process.pid)
    while not tree.children() and process.poll() is None:
        time.sleep(0.01)
    children = tree.children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group gets it
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("codetune: interrupted")
    assert error.count("\n") == 1
    assert psutil.wait_procs(children, timeout=30)[1] == []
