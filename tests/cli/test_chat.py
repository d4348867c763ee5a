"""`codetune chat`: a talk at a pseudo terminal, with answers of a function; one question from the command line and through pipes."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from codetune.cli.chat import make_session, start
from codetune.cli.main import run
from codetune.cli.output import to_stderr
from codetune.cli.running import TierFlags
from codetune.cli.terminal.commands import COMMANDS
from codetune.config import DecodingConfig
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask
from codetune.serve.talk import Talk
from tests.cli.terminal_process import ALT_ENTER, CTRL_C, CTRL_D, ENTER, TAB, UP, TerminalProcess, terminal

READY = " tokens"  # the end of the line below the prompt
PROGRAM = '''
from codetune.cli.chat import make_session, start
from codetune.cli.output import to_stderr
from codetune.cli.running import TierFlags
from codetune.cli.terminal.commands import COMMANDS
from codetune.config import DecodingConfig
from codetune.generate.fake_live import FakeLiveEngine
from codetune.serve.talk import Talk

CODE = """Here it is:

```python
import sys

def add(a, b):
    return a - b

print(add(40, -2), sys.argv[1:], "\\\\x1b]0;stolen\\\\x07")
```

That is **all**.
"""

def answer(ask, index):
    question = ask.messages[-1].content
    if "Explain" in question:
        return "It takes away."
    if "return a - b" in question:  # to be mended
        return "```python\\ndef add(a, b):\\n    return a + b\\n```"
    if "count" in question:
        return "".join(f"number{n} " for n in range(2000))
    if "turns" in question:
        return " ".join(f"{turn.role}:{turn.content!r}" for turn in ask.messages)
    if "loop" in question:
        return "```python\\nprint(1, flush=True)\\nwhile True: pass\\n```"
    return CODE

engine = FakeLiveEngine(answer, ("base", "lora"), pause_s=0.001)
with make_session(Talk(engine, decoding=DecodingConfig(max_new_tokens=2000)), TierFlags(), to_stderr()) as session:
    start(session, None)
print("LEFT")
'''


@pytest.fixture
def process(tmp_path: Path) -> Iterator[TerminalProcess]:
    with terminal(PROGRAM, state=tmp_path / "state") as found:
        found.expect("/quit leaves.")
        found.expect(READY)
        yield found


def say(process: TerminalProcess, line: str, *answers: str) -> None:
    """Type a line, wait for what should come, and for the prompt."""
    process.send(line + ENTER)
    for answer in (*answers, READY):
        process.expect(answer)


def test_code_is_run_tested_explained_and_mended(process: TerminalProcess, tmp_path: Path) -> None:
    say(process, "Write add.", "Here it is:", "── 1 python", "def add(a, b):", "That is all.")
    say(process, "/run one 'two three'", "42 ['one', 'two three'] ␛]0;stolen␇", "ran to its end")
    say(process, "/test assert add(1, 2) == 3", "0 of 1 tests pass: assert add(1, 2) == 3")
    say(process, "/explain", "It takes away.")
    say(process, "/mend", "round 1: passed", "-    return a - b", "+    return a + b", "mended in round 1")
    say(process, "/test", "passed, 1 of 1 tests pass")
    say(process, f"/save {tmp_path / 'talk.jsonl'}", "saved to")
    process.send(CTRL_D)
    process.expect("LEFT")
    assert process.wait() == 0
    assert "\x1b]0;" not in process.written
    assert "\x1b[35m" in process.written  # keywords are coloured
    lines = process.lines()
    assert [line for line in lines if line == "That is all."] == ["That is all."]  # drawn many times, and stands there once
    saved = json.loads((tmp_path / "talk.jsonl").read_text())["messages"]
    assert [turn["role"] for turn in saved] == ["user", "assistant"] * 3
    assert "return a + b" in saved[-1]["content"]


def test_ctrl_c_stops_an_answer_and_a_program_and_leaves_at_the_prompt(process: TerminalProcess, tmp_path: Path) -> None:
    process.send("count" + ENTER)
    process.expect("number99")
    process.send(CTRL_C)
    for text in ("what is there is kept", READY):
        process.expect(text)
    say(process, "turns", "assistant:'number0 number1")
    say(process, "loop", "while True")
    process.send("/run" + ENTER)
    process.expect("running in the sandbox")
    process.send(CTRL_C)
    for text in ("(stopped)", READY):
        process.expect(text)
    say(process, "Write add.", "That is all.")
    say(process, "/run", "42 []")  # the sandbox is whole
    process.send("half a question" + CTRL_C)
    for text in ("Ctrl-C again", READY):
        process.expect(text)
    process.send(CTRL_C)
    process.expect("LEFT")
    assert process.wait() == 0
    kept = json.loads((tmp_path / "state" / "chat" / "last.jsonl").read_text())
    assert kept["messages"][1]["content"].startswith("number0 number1 ")


def test_lines_are_edited_pasted_completed_and_remembered(process: TerminalProcess) -> None:
    process.send("turns one" + ALT_ENTER + "two\\" + ENTER)
    say(process, "three", "user:'turns one\\ntwo\\nthree'")
    process.paste("turns\n```\npasted\n")
    process.send(ENTER)  # the block is open: a line more
    say(process, "```", "user:'turns\\n\\npasted\\n\\n'")  # the fences are Markdown
    process.send("/mo" + TAB)
    process.expect("del")
    say(process, " lora", "lora · instruction")
    process.send(UP)
    say(process, "", "lora · instruction")
    say(process, "/modle", "did you mean '/model'?")
    say(process, "/copy", "there is no code yet")
    say(process, "Write add.", "That is all.")
    say(process, "/copy", "handed to the terminal")
    assert base64.b64encode(b"import sys\n").decode()[:12] in process.written
    process.send("/quit" + ENTER)
    process.expect("LEFT")


def test_questions_are_remembered_by_the_next_talk_for_their_owner_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for keys in ("turns first" + ENTER, UP + ENTER):
        with terminal(PROGRAM, state=state) as process:
            process.expect(READY)
            process.expect(READY)
            process.send(keys)
            process.expect("user:'turns first'")
            process.expect(READY)
    assert (state / "chat" / "questions").stat().st_mode & 0o777 == 0o600
    assert (state / "chat").stat().st_mode & 0o777 == 0o700


class Typed:
    """A talk whose lines come from a file, as where no terminal is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("CODETUNE_STATE", str(tmp_path / "state"))

    def __call__(self, answer: Callable[[Ask, int], str], *lines: str, saved: Path | None = None) -> tuple[str, str]:
        """What came to stdout and to stderr."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
        talk = Talk(FakeLiveEngine(answer, ("base", "lora")), decoding=DecodingConfig(max_new_tokens=20))
        with make_session(talk, TierFlags(), to_stderr()) as session:
            start(session, None, saved)
        return self._capsys.readouterr()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    return Typed(monkeypatch, capsys, tmp_path)


def always(answer: str) -> Callable[[Ask, int], str]:
    return lambda ask, index: answer


def test_blocks_are_run_by_their_number_with_what_they_read(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("from the file\n")
    answer = "```python\nprint(input())\n```\n```python\nprint('two')\n```\n```sh\nls\n```\n"
    out, said = typed(
        always(answer), "go", "/run", f"/run 1 < {tmp_path / 'in.txt'}", "/run 1", "/run 3", "/run 4", "/run 1 < a b", "/run 1 < nowhere",
    )  # fmt: skip
    assert out.removeprefix(answer) == "two\nfrom the file\n"
    for text in (
        "EOFError", "/run < FILE gives it a file", "the block is sh, and only Python is run",
        "there is no block 4: the answer has 3 blocks", "one file follows the <", "cannot read nowhere",
    ):  # fmt: skip
        assert text in said


def test_a_cut_answer_runs_as_far_as_it_is_python_and_says_so(typed: Typed) -> None:
    out, said = typed(always("print(6 * 7)\ndef f(x):\n    return (x +"), "go", "/run")
    assert out.endswith("\n42\n")
    assert "2 lines at its end are no Python and were left out" in said


def test_tests_of_a_file_and_what_is_none(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "test_add.py").write_text("from add import add\n\ndef test_add():\n    assert add(1, 2) == 3\n")
    (tmp_path / "cases.json").write_text('[{"input": [1, 2], "output": 3}, {"input": [1, 1], "output": 3}]')
    _, said = typed(
        always("def add(a, b):\n    return a + b\n"), "/test", "go", "/test", f"/test {tmp_path / 'test_add.py'}",
        f"/test {tmp_path / 'cases.json'}", f"/test {tmp_path / 'tests_add.py'}", "/test this is", "/mend",
    )  # fmt: skip
    for text in (
        "there is no code yet", "there are no tests yet", "passed, 1 of 1 tests pass", "wrong_answer, 1 of 2 tests pass",
        f"there is no file {tmp_path / 'tests_add.py'}; did you mean {tmp_path / 'test_add.py'}?", "line 1: not Python",
        "not mended in 4 tries",
    ):  # fmt: skip
        assert text in said


def test_what_is_set_is_asked_with_and_a_mistake_ends_nothing(typed: Typed) -> None:
    asked: list[Ask] = []

    def answer(ask: Ask, index: int) -> str:
        asked.append(ask)
        return "word " * 30

    _, said = typed(
        answer, "/model lore", "/model lora", "/style alpaca", "/system Be short.", "/set temperature 0.5", "/set top_p", "/set seed=7",
        "/set temprature 1", "/nothing", "go", "/retry", "/explain", "/load nowhere.jsonl", "/save", "/help",
    )  # fmt: skip
    assert (asked[0].model, asked[0].prompt_style, asked[0].messages[0].content) == ("lora", "alpaca", "Be short.")
    assert [(ask.decoding.temperature, ask.decoding.seed) for ask in asked] == [(0.5, 7), (0.5, 8)]
    for text in (
        "did you mean 'lora'?", "give a value, as in /set temperature 0.2", "did you mean 'temperature'?", "there is no command '/nothing'",
        "cut here: an answer has 20 tokens at most", "nothing has failed yet", "nowhere.jsonl", "/save needs a file",
        "/mend [FILE|ASSERTS]",
    ):  # fmt: skip
        assert text in said


def test_lines_that_belong_together_are_one_question(typed: Typed) -> None:
    asked: list[str] = []

    def answer(ask: Ask, index: int) -> str:
        asked.append(ask.messages[-1].content)
        return "yes"

    typed(answer, "one\\", "two", "why?", "```", "x = 1", "/quit", "```", "open", "```", "to the end")
    assert asked == ["one\ntwo", "why?", "```\nx = 1\n/quit\n```", "open", "```\nto the end"]


def test_a_talk_goes_on_where_the_last_one_ended(typed: Typed, tmp_path: Path) -> None:
    def turns(ask: Ask, index: int) -> str:
        return f"turn {len(ask.messages)}"

    typed(turns, "one", f"/save {tmp_path / 'talk.jsonl'}")
    out, said = typed(turns, "/load", "two")
    assert out == "turn 3\n"
    assert "1 exchange loaded, the last question: one" in said
    assert typed(turns, "/load", "three", saved=tmp_path / "talk.jsonl")[0] == "turn 5\n"


def test_the_shipped_model_answers_on_stdout_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("def add(a, b):\n"))
    assert run(["chat", "-q", "Write a function add(a, b).", "--max-new-tokens", "8"]) == 0
    out, said = capfd.readouterr()
    assert out.strip()
    assert out.endswith("\n")
    assert "tokens" not in out
    assert said.startswith("codetune-base · instruction · greedy · at most 8 tokens\n")


def one_question() -> str:
    """The program as the command line has it, with `-q count`."""
    script = PROGRAM.replace("start(session, None)", "start(session, 'count')")
    dispatch = f"main._dispatch = lambda arguments: exec({script!r}, {{}})"
    return "\n".join(["import sys", "from codetune.cli import main", dispatch, "sys.exit(main.run([]))"])


def test_ctrl_c_ends_a_single_question(tmp_path: Path) -> None:
    with terminal(one_question(), state=tmp_path / "state") as process:
        process.expect("number99")
        process.send(CTRL_C)
        process.expect("interrupted")
        assert process.wait() == 130
    assert not (tmp_path / "state" / "chat" / "last.jsonl").exists()  # the last talk stays the last talk


def test_a_reader_that_leaves_is_no_mistake(tmp_path: Path) -> None:
    """As in `codetune chat -q ... | head -1`: the answer goes on beyond what the pipe takes."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", one_question()], stdout=writing, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        env=os.environ | {"CODETUNE_STATE": str(tmp_path)},
    )  # fmt: skip
    os.close(writing)
    assert os.read(reading, 7) == b"number0"
    os.close(reading)
    assert process.communicate(timeout=120)[1].decode().splitlines()[1:] == []
    assert process.returncode == 1


def test_one_question_is_answered_with_what_is_piped(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for question in (["-q", "Add."], []):
        monkeypatch.setattr("sys.stdin", io.StringIO("some code"))
        assert run(["chat", "--model", str(tiny_model), *question, "--max-new-tokens", "3"]) == 0
        out, error = capsys.readouterr()
        assert "instruction" not in out
        assert "tiny · instruction · greedy · at most 3 tokens" in error


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model: Path) -> None:
    for arguments, says in (
        (["--model", "codetune-bse", "-q", "x"], "did you mean 'codetune-base'?"),
        (["-q", " "], "the question is empty"),
        (["--model", str(tiny_model), "-q", "word " * 999], "shorten it"),
        (["--model", str(tiny_model), "-q", "x", "--prompt-style", "alpaka"], "did you mean 'alpaca'?"),
        (["--model", str(tiny_model), "-q", "x", "--load", "nowhere.jsonl"], "nowhere.jsonl"),
    ):
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        assert run(["chat", *arguments]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("codetune:") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_one_line(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(["chat", "--model", str(tiny_model), "-q", "Add.", "--device", "cuda"]) == 2
    assert "codetune: device 'cuda' is not on this machine, which has" in capsys.readouterr().err


def test_the_page_has_all_commands() -> None:
    page = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")
    assert not [command.usage for command in COMMANDS.values() if "| `" + command.usage.replace("|", "\\|") + "` |" not in page]
