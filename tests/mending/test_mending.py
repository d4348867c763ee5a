"""Rounds of mending with scripted answers and the real sandbox: what counts as mended, what the model is told, what it never sees."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import TooLongError
from codetune.mending import Asking, Mended, Round, best, decoding_of, explain, mend, patch
from codetune.mending.outcome import notes
from codetune.prompts.mending import Fault, in_words, question, wish
from codetune.prompts.template import make_template
from codetune.records import AssertTest, CallTest, Document, Integrity, Message, Problem, ProgramResult, StdioTest, Test, Verdict
from codetune.sandbox import Sandbox

MEDIAN = '''# Of our own.


def median(xs):
    """The middle."""
    xs = sorted(xs)
    return xs[len(xs) // 2]


def other():
    return "kept"
'''
GOOD = "def median(xs):\n    xs = sorted(xs)\n    return (xs[len(xs) // 2] + xs[~(len(xs) // 2)]) / 2\n"
ONE_CASE = "def median(xs):\n    return 1.5 if xs == [1, 2] else sorted(xs)[len(xs) // 2]\n"
EVEN = ("assert median([1, 2]) == 1.5", "assert median([3]) == 3", "assert median([4, 2, 3, 10]) == 3.5", "assert median([7, 8]) == 7.5")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, memory_mb=512) as started:
        yield started


def problem(*tests: str | Test, **more: object) -> Problem:
    return Problem("p", tests=tuple(AssertTest(test) if isinstance(test, str) else test for test in tests), **more)  # type: ignore[arg-type]


class Script:
    """Answers in their order, and what was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), list[str]()

    def __call__(self, messages: tuple[Message, ...]) -> str:
        assert [message.role for message in messages] == ["user"]
        self.asked.append(messages[0].content)
        return self.answers.pop(0)


def tried(sandbox: Sandbox, program: str, tests: Problem, *answers: str, rounds: int | None = None) -> tuple[list[Round], Script]:
    script = Script(*answers)
    return list(mend(program, tests, script, sandbox, rounds or len(answers) or 1)), script


def test_a_program_that_passes_is_not_asked_about(sandbox: Sandbox) -> None:
    (only,), script = tried(sandbox, GOOD, problem(*EVEN))
    assert (only.number, only.passed, only.program, only.diff, script.asked) == (0, True, GOOD, "", [])


def test_rounds_go_on_until_the_tests_pass_and_the_rest_of_the_file_stays(sandbox: Sandbox) -> None:
    rounds, script = tried(sandbox, MEDIAN, problem(*EVEN), "I do not know.", f"Try:\n```python\n{GOOD}```\nDone.", rounds=4)
    assert [one.number for one in rounds] == [0, 1, 2]
    assert [one.passed for one in rounds] == [False, False, True]
    assert rounds[1].remark == "the answer holds no code for this file"
    assert rounds[2].program == MEDIAN.replace(MEDIAN[MEDIAN.index("def median") : MEDIAN.index("\n\ndef other")], GOOD)
    assert "What goes wrong now: A result is wrong: median([1, 2]) gave 2, expected 1.5." in script.asked[0]
    assert "correct `median` in the Python code below" in script.asked[0]
    assert "Your last answer did not help" in script.asked[1]
    assert "try" not in script.asked[0]


def test_of_several_failing_tests_half_stay_unseen_and_knowing_those_shown_by_heart_is_found_out(sandbox: Sandbox) -> None:
    rounds, script = tried(sandbox, MEDIAN, problem(*EVEN), ONE_CASE, GOOD)
    assert not rounds[1].passed
    assert rounds[1].result.tests_passed == 2
    assert rounds[1].remark.startswith("it compares with values of the tests ([1, 2])")
    assert rounds[2].passed
    assert rounds[2].unseen == 1
    assert all("[7, 8]" not in asked for asked in script.asked)
    assert "[1, 2]" in script.asked[0]
    assert "[4, 2, 3, 10]" in script.asked[0]
    assert "another one fails (wrong_answer)" in script.asked[1] or "[4, 2, 3, 10]" in script.asked[1]


def test_a_test_that_is_kept_back_is_shown_only_while_another_one_stays_unseen(sandbox: Sandbox) -> None:
    tests = problem(*(CallTest(([1, n],), (1 + n) / 2) for n in (2, 4, 6, 8)), entry_point="median")
    cases = "def median(xs):\n    return {2: 1.5, 4: 2.5, 6: 3.5}.get(xs[-1])\n"
    rounds, script = tried(sandbox, MEDIAN, tests, cases.replace(", 6: 3.5", ""), cases, "no", GOOD)
    assert [one.result.tests_passed for one in rounds] == [0, 2, 3, 3, 4]
    shown = [{n for n in (2, 4, 6, 8) if f"median([1, {n}]) ==" in asked} for asked in script.asked]
    assert shown == [{2, 4}, {2, 4, 6}, {2, 4, 6}, {2, 4, 6}]
    assert "median([1, 6]) gave None, expected 3.5" in script.asked[1]
    assert "These tests pass now, but another one fails" in script.asked[2]
    assert [one.unseen for one in rounds] == [4, 2, 1, 1, 1]


FORGED = [
    "print('passed')\ndef median(xs):\n    print('all tests passed')\n    return 0\n",
    "import os\ndef median(xs):\n    os._exit(0)\n",
    "import sys\ndef median(xs):\n    sys.exit(0)\n",
    "class Yes(float):\n    def __eq__(self, other):\n        return True\ndef median(xs):\n    return Yes()\n",
    "import builtins\nbuiltins.AssertionError = type('E', (BaseException,), {})\ndef median(xs):\n    return 0\n",
    "def test_median():\n    pass\nassert True\n",
    "import sys\ndef median(xs):\n    for n in range(3):\n        sys._getframe(n).f_globals['passed'] = True\n    return 0\n",
    "def median(xs):\n    raise SystemExit(0)\n",
    "def median(xs):\n    ...\n",
]


@pytest.mark.parametrize("answer", FORGED)
def test_no_forged_success_is_success(sandbox: Sandbox, answer: str) -> None:
    rounds, _ = tried(sandbox, MEDIAN, problem(*EVEN), answer)
    assert not rounds[-1].passed
    assert not Mended(tuple(rounds), "", sandbox.tier).passed


def test_the_same_answer_again_is_said_and_not_run_again(sandbox: Sandbox) -> None:
    worse = "def median(xs):\n    return None\n"
    unchanged = MEDIAN[MEDIAN.index("def median") : MEDIAN.index("def other")]
    rounds, script = tried(sandbox, MEDIAN, problem(*EVEN), worse, worse, unchanged)
    assert [one.remark for one in rounds[1:]] == ["", "the answer is that of round 1 again", "the answer changes nothing"]
    assert rounds[2].result is rounds[1].result
    assert "Your last answer made it worse" in script.asked[1]
    assert "return xs[len(xs) // 2]" in script.asked[1]  # the next try starts from the best program so far
    assert best(rounds) is rounds[0]


def test_several_blocks_of_an_answer_count_together(sandbox: Sandbox) -> None:
    faulty = MEDIAN[MEDIAN.index("def median") : MEDIAN.index("def other")]
    helped = GOOD.replace("sorted(xs)\n", "_sorted(xs)\n")
    helper = "def _sorted(xs):\n    return sorted(xs)\n"
    for blocks in ((faulty, GOOD), (helped, helper), (helper, helped), (GOOD, "print(median([1, 2]))\n", "median([1,\n")):
        answer = "<think>```python\ndef median(xs):\n    return 0\n```</think>" + "".join(f"So:\n```python\n{each}```\n" for each in blocks)
        rounds, _ = tried(sandbox, MEDIAN, problem(*EVEN), answer)
        assert rounds[-1].passed, blocks


def test_after_an_answer_that_led_nowhere_the_purpose_is_asked_for_anew(sandbox: Sandbox) -> None:
    tests = problem(*EVEN, instruction="Write `median(xs)`, the middle of a list of numbers.")
    rounds, script = tried(sandbox, MEDIAN, tests, "?", "def median(xs):\n    return None\n", GOOD)
    assert rounds[-1].passed
    assert [asked == tests.instruction for asked in script.asked] == [False, True, False]
    assert all(asked.startswith(tests.instruction) for asked in script.asked)


def test_answers_that_delete_or_break_things_cost_the_file_nothing(sandbox: Sandbox) -> None:
    rounds, _ = tried(
        sandbox, MEDIAN, problem(*EVEN), "def other():\n    return 1\n", "def median(xs:\n", "def median(xs):\n    return 'a\n"
    )
    for one in rounds:
        assert "def median" in one.program
        assert "def other" in one.program
    assert [one.result.tests_passed for one in rounds] == [1, 1, 1, 1]


def test_a_syntax_error_an_exception_and_a_loop_are_told_in_words(sandbox: Sandbox) -> None:
    tests = problem("assert f(2) == 4", timeout_s=0.5)
    good = "def f(x):\n    return x * x\n"
    for fault, says in (
        ("return x *", "It is not valid Python: SyntaxError: invalid syntax"),
        ("return x / 0", "It raises an exception: ZeroDivisionError: division by zero in line 2: return x / 0\n"),
        ("while True: pass", "perhaps a loop never ends"),
        ("__import__('os')._exit(0)", "It ends the whole process"),
        ("return [0] * 10 ** 12", "It needs too much memory"),
    ):
        rounds, script = tried(sandbox, f"def f(x):\n    {fault}\n", tests, good)
        assert rounds[-1].passed, fault
        assert says in script.asked[0]


def test_scripts_are_mended_as_a_whole_and_their_output_is_told(sandbox: Sandbox) -> None:
    tests = problem(StdioTest("2\n", "3\n"), StdioTest("5\n", "6\n"))
    rounds, script = tried(sandbox, "n = input()\nprint(n * 1)\n", tests, "n = int(input())\nprint(n + 1)\n")
    assert rounds[-1].passed
    assert "line 1 of stdout is '2', expected '3'" in script.asked[0]
    assert "With this on stdin:\n2\nit prints:\n3" in script.asked[0]


def test_tests_that_only_hold_together_are_told_as_a_whole(sandbox: Sandbox) -> None:
    counter = "class Counter:\n    n = -1\n    def more(self):\n        self.n += 1\n        return self.n + 1\n"
    tests = problem("assert c.more() == 1", "assert c.more() == 2", "assert c.more() == 5", setup="c = Counter()")
    rounds, script = tried(sandbox, counter, tests, counter.replace("self.n + 1\n", "self.n ** 2 + 1\n"))
    assert rounds[-1].passed
    assert "This does not hold: assert c.more() == 5\n" in script.asked[0]
    assert "tests:\nassert c.more() == 1\nassert c.more() == 2\nassert c.more() == 5\n" in script.asked[0]


def test_what_does_not_fit_is_asked_with_what_matters_of_the_file(sandbox: Sandbox) -> None:
    program = "\n\n".join(f"def filler_{n}():\n    return {n}\n" for n in range(50)) + "\n\n" + MEDIAN
    program = program.replace("xs = sorted(xs)", "xs = _sorted(xs)") + "\n\ndef _sorted(xs):\n    return sorted(xs)\n"

    class Small(Script):
        def __call__(self, messages: tuple[Message, ...]) -> str:
            if len(messages[0].content) > self.limit:
                raise TooLongError("it has 1,000 tokens, and the model 512 positions: shorten it")
            return super().__call__(messages)

        limit = 600

    script = Small(GOOD)
    rounds = list(mend(program, problem(*EVEN), script, sandbox))
    assert rounds[-1].passed
    assert rounds[-1].program.count("def filler_") == 50
    assert "filler_" not in script.asked[0]
    assert "def _sorted" in script.asked[0]
    script.limit = 100
    with pytest.raises(UserError, match=r"does not fit the model, even without the rest of its file.*512 positions"):
        list(mend(program, problem(*EVEN), script, sandbox))


def test_tests_that_hand_over_objects_give_a_weak_verdict_and_it_is_said(sandbox: Sandbox) -> None:
    tests = problem("class A:\n    x = 1\na = A()\nassert f(a) is a")
    rounds, _ = tried(sandbox, "def f(a):\n    return None\n", tests, "def f(a):\n    return a\n")
    assert rounds[-1].passed
    assert rounds[-1].result.integrity is Integrity.WEAK
    assert any("could forge the verdict" in note for note in notes(Mended(tuple(rounds), "", sandbox.tier)))


def test_without_tests_there_is_nothing_to_go_by(sandbox: Sandbox) -> None:
    with pytest.raises(UserError, match="no tests"):
        list(mend(MEDIAN, problem(), Script(), sandbox))


def test_a_live_engine_is_asked_greedily_at_first_and_drawn_from_later(sandbox: Sandbox) -> None:
    answers = ["?", "?", GOOD]
    engine = FakeLiveEngine(lambda ask, index: answers.pop(0), models=("base", "tuned"))
    heard: list[str] = []
    asking = Asking(engine, "tuned", DecodingConfig(seed=5, max_new_tokens=90), tell=heard.append)
    assert list(mend(MEDIAN, problem(*EVEN), asking, sandbox))[-1].passed
    asked = [(ask.model, ask.decoding.temperature, ask.decoding.seed) for ask in engine.asked]
    assert asked == [("tuned", 0, 5), ("tuned", 0.4, 6), ("tuned", 0.6, 7)]
    assert "".join(heard).endswith("/ 2\n")
    assert decoding_of(2, DecodingConfig(temperature=0.8)).temperature == 0.8
    assert [decoding_of(n, DecodingConfig()).temperature for n in range(1, 8)] == [0.0, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("style", ["instruction", "docstring"])
def test_what_is_asked_is_what_a_mended_pair_teaches(style: str) -> None:
    asked = wish(Fault("def f():\n    return 1\n", "f() gave 1, expected 2.", ("assert f() == 2",), "f", "Give two."))
    template = make_template(style)
    pair = Document.of(Problem("x", asked.instruction, asked.input, reference="def f():\n    return 2\n"))
    talk = Document("x", messages=(question(asked), Message("assistant", "def f():\n    return 2\n")))
    assert (
        template.render_document(pair).prompt == template.render_document(talk).prompt == template.conversation((question(asked),)).prompt
    )


def test_explaining_shows_the_code_and_the_error() -> None:
    (message,) = explain(
        "def f():\n    return 1 / 0\n", ProgramResult(Verdict.EXCEPTION, "ZeroDivisionError: division by zero", stdout="so far\n")
    )
    assert message.role == "user"
    for part in ("Explain", "ZeroDivisionError: division by zero", "so far", "return 1 / 0"):
        assert part in message.content
    assert {in_words(ProgramResult(verdict)) for verdict in Verdict if verdict is not Verdict.PASSED}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\nb\n", "a\nc\n"),
        ("a\nb", "a\nc"),
        ("a\nb", "a\nc\n"),
        ("a\r\nb\r\n", "a\r\nc\r\n"),
        ("", "a\n"),
        ("x\x0cy\u2028z\n", "x\x0cy\u2028w\n"),
    ],
)
@pytest.mark.parametrize("name", ["f.py", "sub dir/a file.py"])
def test_git_applies_the_patch(tmp_path: Path, before: str, after: str, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(before.encode())
    made = patch(before, after, name).encode()
    subprocess.run(["git", "apply", "--whitespace=nowarn"], input=made, cwd=tmp_path, check=True, capture_output=True)
    assert file.read_bytes() == after.encode()
    assert patch(after, after, name) == ""
