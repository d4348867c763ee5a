"""Tests that users bring for programs of their own: Python, JSON, folders; what cannot be read is one line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data.given_tests import problem_of
from codetune.data.given_tests import tests_of as read
from codetune.errors import UserError
from codetune.records import AssertTest, CallTest, Problem, StdioTest, Verdict
from codetune.sandbox import Sandbox

ADD = "def add(a, b):\n    return a + b\n\n\ndef _hidden():\n    return 0\n"
PYTEST = """
import math
import pytest
from shop.sums import add as plus
from shop import sums

CASES = [(1, 2, 3)]

class TestAdd:
    def setup_method(self):
        self.one = 1

    def test_one(self):
        assert plus(self.one, 1) == 2

    def test_cases(self):
        for a, b, c in CASES:
            assert sums.add(a, b) == c

def test_floats():
    assert math.isclose(plus(0.1, 0.2), 0.3)

def test_refusal():
    with pytest.raises(TypeError):
        plus(None, 1)

if __name__ == "__main__":
    pytest.main()
"""
UNITTEST = """
import unittest
from . import sums

class Sums(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one = 1

    def setUp(self):
        self.two = 2

    def test_add(self):
        self.assertEqual(sums.add(self.one, self.two), 3)

    def test_more(self):
        self.assertEqual(sums.add(2, 2), 4)

unittest.main
"""


@pytest.mark.parametrize(
    ("text", "count", "wrong"),
    [
        (PYTEST, 4, 3),  # with `-`: one, cases and floats fail, the refusal still holds
        (UNITTEST, 2, 2),
        ("from sums import *\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n", 2, 1),
        ("import sums as s\nx = s.add(1, 2)\nassert x == 3\nx += 1\nassert x == 4\n", 1, 1),
        ("assert add(1, 2) == 3", 1, 1),
    ],
)
def test_python_files_in_the_sandbox(tmp_path: Path, text: str, count: int, wrong: int) -> None:
    tests, program = tmp_path / "test_sums.py", tmp_path / "sums.py"
    tests.write_text(text)
    problem = problem_of(tests, program, ADD)
    assert len(problem.tests) == count
    with Sandbox(workers=1) as sandbox:
        good, bad = sandbox.check([(ADD, problem), (ADD.replace("+", "-"), problem)])
    assert (good.verdict, good.tests_passed) == (Verdict.PASSED, count)
    assert (bad.verdict, bad.tests_passed) == (Verdict.WRONG_ANSWER, count - wrong)


def test_texts_of_json_and_of_python_are_told_apart() -> None:
    call, script = CallTest((1, [2]), {"a": 3}), StdioTest("1\n", "2\n")
    assert read('[{"input": [1, [2]], "output": {"a": 3}}]', "f") == ("", (call,))
    assert read('{"stdin": "1\\n", "stdout": "2\\n"}\n') == ("", (script,))
    assert read('["assert f(1) == 2"]') == ("", (AssertTest("assert f(1) == 2"),))
    tests = '"tests": [{"input": [1, [2]], "output": {"a": 3}}]'
    row = f'{{"task_id": 1, "instruction": "Add.", "entry_point": "f", "setup": "x = 1", {tests}}}'
    assert read(row) == ("x = 1", (call,))
    assert read("from anything import f\nx = 1\nassert f(x) == 2") == ("x = 1", (AssertTest("assert f(x) == 2"),))


def test_calls_go_to_the_only_function_or_the_one_that_is_named(tmp_path: Path) -> None:
    tests = tmp_path / "cases.json"
    tests.write_text('[{"input": [1, 2], "output": 3}]')
    assert problem_of(tests, tmp_path / "sums.py", ADD).entry_point == "add"
    assert problem_of(tests, tmp_path / "sums.py", "", "plus").entry_point == "plus"
    with pytest.raises(UserError, match="give its name as the entry point: one of add, sub"):
        problem_of(tests, tmp_path / "sums.py", ADD + "def sub(a, b):\n    return a - b\n")


def test_of_several_problems_the_one_that_the_program_defines(tmp_path: Path) -> None:
    tests = tmp_path / "problems.jsonl"
    row = (
        '{{"task_id": "{0}", "instruction": "Do {0}.", "entry_point": "{0}", "timeout_s": 2, "tests": [{{"input": [1, 2], "output": 3}}]}}'
    )
    tests.write_text("\n".join(row.format(name) for name in ("add", "sub")))
    found = problem_of(tests, tmp_path / "sums.py", ADD)
    assert (found.entry_point, found.instruction, found.timeout_s) == ("add", "Do add.", 2)
    assert problem_of(tests, tmp_path / "sums.py", ADD, "sub").entry_point == "sub"
    with pytest.raises(UserError, match="0 of its 2 problems are for 'mul'"):
        problem_of(tests, tmp_path / "sums.py", ADD, "mul")


def test_a_folder_of_test_files_with_a_wish(tmp_path: Path) -> None:
    (tmp_path / "problem.md").write_text("Add two numbers.\n")
    (tmp_path / "test_a.py").write_text("from sums import add\nN = 1\ndef test_a():\n    assert add(N, 1) == 2\n")
    (tmp_path / "test_b.py").write_text("from sums import add\nN = 2\ndef test_b():\n    assert add(N, 1) == 3\n")
    problem = problem_of(tmp_path, tmp_path / "sums.py", ADD)
    assert (problem.instruction, problem.entry_point, len(problem.tests)) == ("Add two numbers.", "add", 2)
    with Sandbox(workers=1) as sandbox:
        assert [one.verdict for one in sandbox.check([(ADD, problem)])] == [Verdict.PASSED]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is nothing in it"),
        ("x = 1\n", "no assert and no function test_"),
        ("def test_x(:\n", "line 1: not Python"),
        ("assert (\n", "not Python"),
        ("[1, 2\n", "not JSON"),
        ("[]", "there is no test in it"),
        ('["assert f("]', "is not Python"),
        ('[{"input": 1, "output": 2}]', "a test must be an assert line"),
        ('[{"input": [1], "output": 2}]', "give its name as the entry point"),
        ('[{"task_id": 1, "instruction": "a", "tests": []}]', "there is no test in it"),
        ("import numpy\nassert f()\n", "line 1: imports numpy; tests can import Python's own modules and the program"),
        ("from .. import x\nassert f()\n", "imports a package"),
        ("class Base:\n    pass\nclass TestA(Base):\n    def test_a(self):\n        assert 1\n", "derives from another class"),
        ("class TestA:\n    @mark\n    def test_a(self):\n        assert 1\n", "test_a is decorated"),
        ("class TestA:\n    def test_a(self, tmp_path):\n        assert 1\n", "test_a takes arguments; fixtures are not known here"),
        ("class TestA:\n    async def test_a(self):\n        assert 1\n", "test_a is async"),
    ],
)
def test_what_is_no_test_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    tests = tmp_path / "tests.txt"
    tests.write_text(text)
    with pytest.raises(UserError) as caught:
        problem_of(tests, tmp_path / "sums.py", "")
    assert str(caught.value).startswith(str(tests))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.py not found; give a Python file"):
        problem_of(tmp_path / "nowhere.py", tmp_path / "sums.py", ADD)
    with pytest.raises(UserError, match=r"holds no test_\*\.py"):
        problem_of(tmp_path, tmp_path / "sums.py", ADD)


FRAGMENTS = [
    "import unittest", "class A(unittest.TestCase):", "    def test_a(self):", "        assert f(1)", "[", "]",
    '{"input": [1],', '"output": 2}', "from . import x",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=20))).map("\n".join))
def test_no_text_gives_a_traceback(text: str) -> None:
    with contextlib.suppress(UserError):
        assert read(text, "f")[1]


def test_a_problem_of_tests_has_the_name_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text("assert add(1, 1) == 2")
    assert problem_of(tmp_path / "t.py", tmp_path / "sums.py", ADD) == Problem(
        "sums", tests=(AssertTest("assert add(1, 1) == 2"),), source=str(tmp_path / "t.py")
    )
