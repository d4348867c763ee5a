"""The workbench of the page: run, test, explain and mend over HTTP, in a real sandbox, with real attacks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from page_client import Page, page
from running_server import serving

from bench.attack_programs import FORK_BOMB, PROGRAMS, Host, new_secret
from codetune.errors import UserError
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask, BusyError
from codetune.sandbox import Sandbox
from codetune.serve.assistant import Assistant
from codetune.serve.history import History
from codetune.serve.workbench import Workbench

WRONG, RIGHT = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"
HONEST = "a right answer"  # the one of the programs that is no attack
SLOW = [FORK_BOMB, "swallowing the timeout", "cancelling timers, ignoring signals"]  # each takes all its time


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    with closing(Workbench(workers=2, memory_mb=512)) as opened:
        yield opened


@pytest.fixture(scope="module")
def bench_page(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page(tmp_path_factory.mktemp("assistant"), mender, workbench=bench) as opened:
        yield opened


def mender(ask: Ask, index: int) -> str:
    """Wrong once, then right."""
    question = ask.messages[-1].content
    if "Explain" in question:
        return f"Because: {question}"
    body = "a * b" if ask.decoding.temperature == 0 else "a + b"
    return f"Here it is:\n```python\ndef add(a, b):\n    return {body}\n```\n"


def test_a_program_runs_with_stdin_and_arguments(bench_page: Page) -> None:
    code = "import sys\nprint(sys.argv[1:], input())\nprint('a warning', file=sys.stderr)\n"
    found = bench_page.post("/api/run", code=code, stdin="typed\n", arguments=["-n", "2 3", "ü"])
    assert found | {"seconds": 0} == {
        "verdict": "passed", "detail": "", "stdout": "['-n', '2 3', 'ü'] typed\n", "stderr": "a warning\n", "seconds": 0,
        "tier": bench_page.get("/api/state")["sandbox"]["tier"],
    }  # fmt: skip
    failed = bench_page.post("/api/run", code="print(1)\n1 / 0\n")
    assert (failed["verdict"], failed["detail"], failed["stdout"]) == ("exception", "ZeroDivisionError: division by zero", "1\n")
    assert 'File "<program>", line 2' in failed["stderr"]
    assert bench_page.post("/api/run", code="print(")["verdict"] == "syntax_error"
    assert bench_page.post("/api/run", code="")["verdict"] == "passed"


@pytest.mark.parametrize(
    ("code", "tests", "more", "found"),
    [
        (RIGHT, "assert add(1, 2) == 3\nassert add(0, 0) == 0\n", {}, ("passed", 2, 2)),
        (WRONG, "assert add(1, 2) == 3\nassert add(0, 0) == 0\n", {}, ("wrong_answer", 1, 2)),
        (RIGHT, "from solution import add\n\ndef test_add():\n    assert add(1, 2) == 3\n", {}, ("passed", 1, 1)),
        (RIGHT, '[{"input": [1, 2], "output": 3}, {"input": [1, 1], "output": 3}]', {"entry_point": "add"}, ("wrong_answer", 1, 2)),
        ("print(input())", '{"stdin": "a", "stdout": "a"}\n{"stdin": "b", "stdout": "b"}', {}, ("passed", 2, 2)),
        ("print(", "assert add(1, 2) == 3", {}, ("syntax_error", 0, 0)),
    ],
)
def test_a_program_is_tested(bench_page: Page, code: str, tests: str, more: Any, found: tuple[str, int, int]) -> None:
    answer = bench_page.post("/api/test", code=code, tests=tests, **more)
    assert (answer["verdict"], answer["tests_passed"], answer["tests_run"]) == found, answer


@pytest.mark.parametrize("tests", ["", "1 +", "x = 1", '[{"input": 3}]', "[1", '{"stdin": "a"}'])
def test_tests_that_are_none_are_one_line(bench_page: Page, tests: str) -> None:
    answer = bench_page.client.post("/api/test", json={"code": RIGHT, "tests": tests})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("the tests")


def test_tests_cannot_ask_for_more_time_than_a_run_has(bench_page: Page) -> None:
    rows = '[{"task_id": "1", "instruction": "x", "timeout_s": 3600, "entry_point": "add", "tests": ["while True: pass"]}]'
    from codetune.serve.programs import problem_of

    assert problem_of(rows, "", RIGHT).timeout_s == 10


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in SLOW])
def test_no_attack_of_the_evaluation_escapes_or_forges_from_the_page(bench_page: Page, tmp_path: Path, name: str) -> None:
    """Every program that `python -m bench attacks` sends at harnesses, through both buttons; what takes all its time by design is left
    to the sandbox's own tests."""
    secret = new_secret()
    host = Host(tmp_path, secret)
    program = host.program(name, port=9)
    tested = bench_page.post("/api/test", code=program, tests=f"assert f() == {secret!r}", entry_point="f")
    assert (tested["verdict"] == "passed") == (name == HONEST), tested
    ran = bench_page.post("/api/run", code=f"{program}\nprint(f())\n")
    assert (secret in ran["stdout"] + ran["stderr"] + ran["detail"]) == (name == HONEST)
    assert host.untouched()
    assert bench_page.post("/api/run", code="print('alive')")["stdout"] == "alive\n"


@pytest.mark.parametrize("argument", ["a\0b", "\ud800", "x" * 200_000, "-c", "; touch x", "--help"])
def test_arguments_are_text_and_nothing_else(bench_page: Page, argument: str) -> None:
    body = json.dumps({"code": "import sys\nprint(len(sys.argv[1]))", "arguments": [argument]})
    answer = bench_page.client.post("/api/run", content=body, headers={"Content-Type": "application/json"})
    wanted = 400 if argument in ("a\0b", "\ud800") else 200
    assert answer.status_code == wanted
    if wanted == 200:
        assert answer.json()["verdict"] in ("passed", "output_limit"), answer.json()


def test_explaining_tells_the_model_what_happened(bench_page: Page) -> None:
    events = bench_page.events("/api/explain", code=WRONG, error="ZeroDivisionError: division by zero", model="tuned")
    text = "".join(event.get("text", "") for event in events)
    assert "ZeroDivisionError: division by zero" in text
    assert WRONG.strip() in text
    assert events[-1] == {"type": "done"}
    assert bench_page.client.post("/api/explain", json={"code": "x", "error": "", "model": "none"}).status_code == 404


def test_mending_shows_every_round_and_believes_the_sandbox_alone(bench_page: Page) -> None:
    events = bench_page.events("/api/mend", code=WRONG, tests="assert add(1, 2) == 3\nassert add(0, 0) == 0\n", model="tuned")
    rounds = [event for event in events if event["type"] == "round"]
    assert [(each["number"], each["verdict"], each["tests_passed"]) for each in rounds] == [
        (0, "wrong_answer", 1), (1, "wrong_answer", 1), (2, "passed", 2),
    ]  # fmt: skip
    assert "+    return a * b" in rounds[1]["diff"]
    assert "-    return a - b" in rounds[2]["diff"]
    done = events[-1]
    assert (done["type"], done["passed"], done["code"], done["diff"]) == ("done", True, RIGHT, rounds[2]["diff"])
    assert any(event["type"] == "piece" for event in events)


def test_mending_that_finds_nothing_says_so(bench_page: Page) -> None:
    events = bench_page.events("/api/mend", code=WRONG, tests="assert add(1, 2) == 'never'", model="tuned", rounds=1)
    assert events[-1]["passed"] is False
    assert events[-1]["message"] == "not mended in 1 rounds: the best try passes 0 of 1 tests"
    assert bench_page.client.post("/api/mend", json={"code": WRONG, "tests": "", "model": "tuned"}).status_code == 400


def test_a_script_is_mended_by_what_it_prints(tmp_path: Path, bench: Workbench) -> None:
    with page(tmp_path, lambda ask, index: "```python\nprint(int(input()) * 2)\n```", workbench=bench) as opened:
        events = opened.events("/api/mend", code="print(input() * 2)\n", stdin="21\n", tests="42\n", model="base")
    assert (events[-1]["passed"], events[-1]["code"]) == (True, "print(int(input()) * 2)\n")


def test_closing_the_connection_gives_a_mending_up(tmp_path: Path, bench: Workbench) -> None:
    engine = FakeLiveEngine(lambda ask, index: "word " * 200, ("base",), pause_s=0.01)
    with closing(History(tmp_path / "assistant.sqlite")) as history:
        assistant = Assistant(engine, workbench=bench, history=history)
        with serving(assistant) as url:
            body = {"code": WRONG, "tests": "assert add(1, 2) == 3", "model": "base"}
            with httpx.stream("POST", f"{url}/api/mend", json=body) as answer:
                for line in answer.iter_lines():
                    if line and json.loads(line[6:])["type"] == "piece":
                        break
            while engine.running:
                threading.Event().wait(0.01)
    assert len(engine.asked) == 1, "no further round is asked for"


def test_what_waits_is_bounded() -> None:
    """Beyond the bound a program is refused with 429; those that were taken all get their verdict."""
    with closing(Workbench(workers=1, waiting=1, memory_mb=256)) as small:
        taken = [small.run("import time\ntime.sleep(0.3)\nprint(1)") for _ in range(2)]
        with pytest.raises(BusyError, match="2 programs are waiting"):
            small.run("print(2)")
        wait(taken)
        assert [each.result().stdout for each in taken] == ["1\n", "1\n"]
        assert small.run("print(3)").result().stdout == "3\n"


def test_the_end_of_the_server_waits_for_no_program() -> None:
    bench = Workbench(workers=1, memory_mb=256)
    assert bench.tier
    running, waiting = (bench.run("import time\ntime.sleep(100)") for _ in range(2))
    bench.close()
    assert waiting.cancelled() or waiting.exception()
    with pytest.raises((UserError, CancelledError)):
        running.result()


def test_without_a_sandbox_nothing_runs_and_the_reason_is_said(tmp_path: Path) -> None:
    """Not even where nothing but the sandbox's own refusal is in the way: a tier that this machine cannot have."""
    with closing(Workbench(tier="T9")) as none, page(tmp_path, workbench=none) as opened:
        missing = opened.get("/api/state")["sandbox"]
        assert missing["tier"] is None
        assert "T9" in missing["missing"]
        for path, body in (("run", {}), ("test", {"tests": "assert 1"}), ("mend", {"tests": "assert 1", "model": "base"})):
            mark = tmp_path / "mark"
            answer = opened.client.post(f"/api/{path}", json={"code": f"open({str(mark)!r}, 'w')", **body})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_sandbox")
            assert not mark.exists()
        with pytest.raises(UserError, match="cannot be run here"):
            none.run("print(1)").result()
    assert opened.post  # the page lives on without
    with pytest.raises(UserError, match="T9"), Sandbox(tier="T9"):
        pass
