"""`--engine openai` from the command line to the record: which endpoint is asked, what is kept, and a kill in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codetune.cli.main import run
from tests.openai_server import Asked, Reply, fault, serving, written

KEY = "sk-very-secret-0123456789"
RIGHT = {"own/0": "def add(a, b):\n    return a + b\n", "own/1": "def neg(a):\n    return -a\n"}


def right(asked: Asked) -> Reply:
    """Both problems of `problems_file`, solved in words and a fence."""
    code = RIGHT["own/0" if "Add" in asked.prompt else "own/1"]
    return written(asked, f"Here it is:\n```python\n{code}```\nThat is all.", tokens=30)


@pytest.fixture
def code_file(tmp_path: Path) -> Path:
    """A problem that is code to go on with."""
    path = tmp_path / "code.jsonl"
    row = {"task_id": "c/0", "prompt": "def f(x):\n", "reference": "    return x\n", "entry_point": "f", "tests": ["assert f(2) == 2"]}
    path.write_text(json.dumps(row) + "\n")
    return path


def evaluate(url: str, benchmark: Path, *more: str) -> int:
    return run(["evaluate", "--engine", "openai", "--base-url", url, "--benchmark", str(benchmark), "--json", *more])


def test_a_chat_is_scored_with_all_that_produced_the_score(
    problems_file: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", "not this one")
    out = tmp_path / "ev"
    with serving(right) as server:
        assert evaluate(server.url, problems_file, "--api-key-env", "OTHER_KEY", "--out", str(out), "--max-new-tokens", "50") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert "prompt style: chat (a server's default)" in said.err
    assert found["pass_at_k"] == {"1": 1.0}
    assert (found["model"], found["base_url"]) == ("tiny", server.url)  # the only one that the server has
    generation = found["generation"]
    assert {key: generation[key] for key in ("engine", "model", "base_url", "endpoint", "prompt_style", "tokens", "finish")} == {
        "engine": "openai", "model": "tiny", "base_url": server.url, "endpoint": "chat", "prompt_style": "chat", "tokens": 60,
        "finish": {"eos": 2},
    }  # fmt: skip
    assert generation["decoding"]["max_new_tokens"] == 50
    assert generation["stop_sequences"] == []
    assert json.loads((out / "result.json").read_text())["benchmarks"] == found["benchmarks"]
    assert {asked.authorization for asked in server.asked} == {f"Bearer {KEY}"}
    assert KEY not in said.out + said.err + "".join(path.read_text() for path in out.iterdir())


def test_a_password_in_the_address_is_used_and_not_recorded(problems_file: Path, tmp_path: Path, capsys: Any) -> None:
    with serving(right) as server:
        assert evaluate(server.url.replace("//", "//me:hunter2@"), problems_file, "--out", str(tmp_path / "ev")) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["base_url"] == server.url
    assert server.asked[0].authorization.startswith("Basic ")
    assert "hunter2" not in said.out + said.err + "".join(path.read_text() for path in (tmp_path / "ev").iterdir())


def completes(asked: Asked) -> Reply:
    return written(asked, "    return x\n\ndef g(y):\n    pass\n" if "prompt" in asked.body else "```python\ndef f(x):\n    return x\n```")


def chats_only(asked: Asked) -> Reply:
    return completes(asked) if "messages" in asked.body else fault(404, "this is a chat model")


@pytest.mark.parametrize(
    ("reply", "flags", "endpoint", "style", "finish"),
    [
        (completes, [], "completions", "completion", "stop"),
        (chats_only, [], "chat", "chat", "eos"),
        (completes, ["--endpoint", "chat"], "chat", "chat", "eos"),
        (completes, ["--endpoint", "chat", "--prompt-style", "alpaca"], "chat", "alpaca", "stop"),
        (completes, ["--endpoint", "completions"], "completions", "completion", "stop"),
    ],
    ids=["continued", "no completions", "chat forced", "chat with a written-out prompt", "completions forced"],
)
def test_the_style_decides_the_endpoint_unless_it_is_forced(
    reply: Callable[[Asked], Reply], flags: list[str], endpoint: str, style: str, finish: str, code_file: Path, capsys: Any
) -> None:
    with serving(reply) as server:
        assert evaluate(server.url, code_file, *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pass_at_k"] == {"1": 1.0}
    generation = found["generation"]
    assert (generation["endpoint"], generation["prompt_style"], generation["finish"]) == (endpoint, style, {finish: 1})
    assert server.asked[-1].path == ("/v1/chat/completions" if endpoint == "chat" else "/v1/completions")


@pytest.mark.parametrize(
    ("flags", "models", "says"),
    [
        ([], ("a", "b"), "--model is missing: {url} has a, b"),
        ([], (), "--model is missing: {url} has no list of models"),
        (["--model", "c"], ("a", "b"), "/chat/completions answers 404 for model 'c': no such model; its models: a, b"),
        (["--model", "c"], (), "answers 404 for model 'c': no such model; see to --model and --base-url (most end in /v1)"),
        (["--model", "c", "--endpoint", "completions", "--prompt-style", "chat"], ("c",), "--prompt-style chat goes with --endpoint chat"),
        (["--model", "c", "--endpoint", "chat", "--prompt-style", "completion"], ("c",), "completion goes with --endpoint completions"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], models: tuple[str, ...], says: str, problems_file: Path, capsys: Any) -> None:
    with serving(lambda asked: fault(404, "no such model"), models) as server:
        assert evaluate(server.url, problems_file, *flags) == 2
    assert says.format(url=server.url) in capsys.readouterr().err.splitlines()[-1]


def test_prompts_too_long_for_the_server_are_counted_and_failed(problems_file: Path, capsys: Any) -> None:
    too_long = fault(400, "too many tokens", code="context_length_exceeded")
    with serving(lambda asked: right(asked) if "Add" in asked.prompt else too_long) as server:
        assert evaluate(server.url, problems_file) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pass_at_k"] == {"1": 0.5}
    assert found["generation"]["finish"] == {"eos": 1, "too_long": 1}
    assert (found["generation"]["prompts_too_long"], found["generation"]["prompts_cramped"]) == (1, None)
    assert found["notices"] == ["1 of 2 prompts do not fit the model's positions: not answered, counted as failed"]


@pytest.fixture
def six_problems(tmp_path: Path) -> Path:
    path = tmp_path / "six.jsonl"
    rows = [{"task_id": f"s/{number}", "instruction": f"p{number}", "reference": f"{number}\n"} for number in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_after_a_kill_only_the_rest_is_asked_for(six_problems: Path, tmp_path: Path, capsys: Any) -> None:
    """Killed while the fifth of six answers is under way; the same command then asks for two."""
    killed, out = threading.Event(), tmp_path / "s.jsonl"
    partial = tmp_path / "s.jsonl.partial"

    def reply(asked: Asked) -> Reply:
        if asked.number == 4:
            killed.wait(60)
        return written(asked, f"answer to {asked.prompt}")

    with serving(reply) as server:
        arguments = ["generate", "--engine", "openai", "--base-url", server.url, "--benchmark", str(six_problems), "--out", str(out)]
        child = subprocess.Popen([sys.executable, "-m", "codetune.cli", *arguments, "--concurrency", "1"], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.read_text().count("\n") == 5) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        killed.set()
        before = len(server.asked)
        changed = (("--model", "other", "model was 'tiny', now 'other'"), ("--endpoint", "completions", "endpoint was 'chat'"))
        for flag, value, says in changed:
            assert run([*arguments, flag, value]) == 2
            assert says in capsys.readouterr().err
        assert len(server.asked) == before
        assert run(arguments) == 0
    assert "4 answers are there already; going on from them" in capsys.readouterr().err
    assert sorted(asked.prompt for asked in server.asked[before:]) == ["p4", "p5"]
    assert [json.loads(line)["solution"] for line in out.read_text().splitlines()] == [f"answer to p{number}" for number in range(6)]
    assert not partial.exists()


def test_it_runs_without_torch(problems_file: Path) -> None:
    script = (
        "import sys\nfrom codetune.cli.main import run\n"
        "code = run(sys.argv[1:])\n"
        "print('LOADED', [name for name in ('torch', 'transformers') if name in sys.modules], code, file=sys.stderr)\n"
    )
    with serving(right) as server:
        arguments = ["evaluate", "--engine", "openai", "--base-url", server.url, "--benchmark", str(problems_file)]
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)
    assert "LOADED [] 0" in done.stderr, done.stderr
    assert "pass@1" in done.stdout
