"""Problems of the user's own as folders: what a test file may hold, what it may not, and that the real sandbox judges by it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data import benchmarks, folders
from codetune.errors import UserError
from codetune.records import Integrity, Problem, Verdict
from codetune.sandbox import Sandbox

ADD = "def add(a, b):\n    if a is None:\n        raise ValueError('no number')\n    return a + b\n"
TESTS = """
import pytest
from solution import add as plus
import solution

CASES = [(1, 2, 3), (0, 0, 0)]


def total(*numbers):
    return sum(numbers)


def test_cases():
    for a, b, c in CASES:
        assert plus(a, b) == c == total(a, b)


def test_refusal():
    with pytest.raises(ValueError, match="no"):
        solution.add(None, 1)
"""


def folder(path: Path, tests: str, solution: str = "") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "problem.md").write_text("Write `add(a, b)`.\n")
    (path / "test_it.py").write_text(tests)
    if solution:
        (path / "solution.py").write_text(solution)
    return path


def verdicts(problem: Problem, *programs: str) -> list[Verdict]:
    with Sandbox(workers=1) as sandbox:
        results = list(sandbox.check((program, problem) for program in programs))
    assert {result.integrity for result in results} == {Integrity.STRONG}
    return [result.verdict for result in results]


def test_functions_are_tests_of_their_own_and_run_beside_the_checker(tmp_path: Path) -> None:
    benchmark = benchmarks.load(str(folder(tmp_path / "add", TESTS, ADD)))
    (problem,) = benchmark.problems
    assert (benchmark.name, benchmark.kind, len(benchmark.sha256)) == ("add", "execution", 64)
    assert (problem.task_id, problem.instruction, problem.entry_point) == ("add", "Write `add(a, b)`.", "add")
    assert len(problem.tests) == 2
    no_refusal, wrong = "def add(a, b):\n    return (a or 0) + b\n", ADD.replace("+", "-")
    assert verdicts(problem, problem.reference, no_refusal, wrong) == [Verdict.PASSED, Verdict.WRONG_ANSWER, Verdict.WRONG_ANSWER]


def test_plain_asserts_and_several_problems(tmp_path: Path) -> None:
    folder(tmp_path / "b", "from solution import *\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n")
    folder(tmp_path / "a", "import solution as s\nassert s.add(1, 2) == 3\n")
    (tmp_path / "notes").mkdir()
    first, second = benchmarks.load(str(tmp_path)).problems
    assert (first.task_id, second.task_id) == ("a", "b")
    for problem in (first, second):
        assert verdicts(problem, ADD, ADD.replace("+", "-")) == [Verdict.PASSED, Verdict.WRONG_ANSWER]


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ("def test_x(tmp_path):\n    assert 1\n", "line 1: test_x takes arguments; fixtures are not known here"),
        ("@mark\ndef test_x():\n    assert 1\n", "line 2: test_x is decorated"),
        ("import pytest\ndef test_x():\n    assert 1 == pytest.approx(1)\n", "line 3: only pytest.raises is known"),
        ("import pytest\nwith pytest.raises(ValueError, KeyError):\n    assert 1\n", "line 2: pytest.raises is known with one exception"),
        ("from pytest import raises\n", "line 1: import pytest as a whole"),
        ("class TestAdd:\n    pass\n", "line 1: TestAdd has no function test_*; write one"),
        ("async def test_x():\n    pass\n", "line 1: test_x is async; write plain functions"),
        ("import solution\nassert dir(solution)\n", "line 2: uses the module 'solution' itself"),
        ("def test_x(:\n", "line 1: not Python"),
        ("x = 1\n", "no assert and no function test_"),
        ("assert 1\0", "not Python"),
    ],
)
def test_what_cannot_be_mapped_is_one_line(tmp_path: Path, tests: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        folders.load(folder(tmp_path / "p", tests))
    assert str(caught.value).startswith(str(tmp_path / "p" / "test_it.py"))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_problem(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no problem\.md"):
        folders.load(tmp_path)
    (tmp_path / "problem.md").write_text(" ")
    with pytest.raises(UserError, match="empty; write what is wanted"):
        folders.load(tmp_path)
    (tmp_path / "problem.md").write_text("Add.")
    with pytest.raises(UserError, match=r"no test_\*\.py beside problem\.md"):
        folders.load(tmp_path)
    (tmp_path / "problem.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        folders.load(tmp_path)


FRAGMENTS = ["import solution", "from solution import f as g", "import pytest", "def test_f():", "    assert f(1)", "pytest.raises(E)"]


@settings(max_examples=200, deadline=None)
@given(tests=st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=30))).map("\n".join))
def test_no_test_file_gives_a_traceback(tmp_path_factory: pytest.TempPathFactory, tests: str) -> None:
    path = folder(tmp_path_factory.getbasetemp() / "fuzz", "")
    (path / "test_it.py").write_text(tests, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(UserError):
        assert folders.load(path)[0].tests
