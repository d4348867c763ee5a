"""What becomes of honest programs: every verdict, every kind of test, and what crosses by value."""

from __future__ import annotations

from typing import Any

import pytest

from codetune.errors import UserError
from codetune.records import AssertTest, CallTest, Integrity, Problem, StdioTest, Verdict
from codetune.sandbox import Sandbox

ADD = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    ("program", "verdict", "detail"),
    [
        (ADD, Verdict.PASSED, ""),
        ("def add(a, b):\n    return a - b\n", Verdict.WRONG_ANSWER, "assert add(1, 2) == 3"),
        ("def add(a, b):\n    return a / 0\n", Verdict.EXCEPTION, "ZeroDivisionError: division by zero"),
        ("def add(a, b):\n    return a +\n", Verdict.SYNTAX_ERROR, "SyntaxError: invalid syntax (<program>, line 2)"),
        ("def add(a, b):\n    return '\0'\n", Verdict.SYNTAX_ERROR, "source code string cannot contain null bytes"),
        ("def plus(a, b):\n    return a + b\n", Verdict.EXCEPTION, "NameError: name 'add' is not defined"),
        ("import torch\n" + ADD, Verdict.EXCEPTION, "No module named 'torch'"),
        ("def add(a, b):\n    while True: pass\n", Verdict.TIMEOUT_CPU, "s of processor time"),
        ("def add(a, b):\n    return add(a, b)\n", Verdict.EXCEPTION, "RecursionError"),
        ("def add(a, b):\n    return [0] * (1 << 32)\n", Verdict.MEMORY, "MemoryError"),
        ("import sys\nsys.exit(3)\n", Verdict.EXCEPTION, "SystemExit: 3"),
        ("import socket\nsocket.socket()\n", Verdict.EXCEPTION, "PermissionError"),
        ("def add(a, b):\n    assert a > 5, 'too small'\n", Verdict.EXCEPTION, "AssertionError: too small"),
        ("import ctypes\nctypes.string_at(0)\n", Verdict.KILLED, "killed by SIGSEGV"),
        ("def add(a, b):\n    eval('1 +')\n", Verdict.EXCEPTION, "SyntaxError"),
    ],
)
def test_each_verdict_with_its_reason(check: Any, program: str, verdict: Verdict, detail: str) -> None:
    result = check(program, "assert add(1, 2) == 3", timeout_s=1.0)
    assert (result.verdict, result.integrity) == (verdict, Integrity.STRONG)
    assert detail in result.detail
    assert "\n" not in result.detail


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("def add(a, b):\n    c = a\n    return c / 0\n", 3),
        ("def add(a, b):\n    return _add(a, b)\n\n\ndef _add(a, b):\n    return {}[a]\n", 6),
        ("def add(a, b):\n    return eval('1 / 0')\n", 2),
        ("x = 1\ny = x.z\n", 2),
        ("def add(a, b):\n    raise SystemExit\n", 0),
        ("def add(a, b):\n    return a - b\n", 0),
        ("def add(a, b):\n    return a +\n", 0),
    ],
)
def test_the_line_of_an_exception_is_told(check: Any, program: str, line: int) -> None:
    assert check(program, "assert add(1, 2) == 3").line == line


def test_the_line_of_an_exception_in_calls_and_scripts_is_told(sandbox: Sandbox) -> None:
    call, script = Problem("c", tests=(CallTest((1,), 2),), entry_point="f"), Problem("s", tests=(StdioTest("", "1"),))
    jobs = [("def f(a):\n    b = a\n    return b.x\n", call), ("a = 1\n\n\nprint(a.b)\n", script)]
    assert [result.line for result in sandbox.check(jobs)] == [3, 4]


def test_counts_go_on_after_the_first_failure_which_is_the_one_reported(check: Any) -> None:
    result = check(ADD, "assert add(1, 1) == 2", "assert add(1, 2) == 4", "assert add(2, 2) == 4", "assert add(0, 0) == 1")
    assert (result.verdict, result.tests_passed, result.tests_run, result.detail) == (Verdict.WRONG_ANSWER, 2, 4, "assert add(1, 2) == 4")


def test_the_failing_line_of_a_test_script_is_named(check: Any) -> None:
    script = "def check(candidate):\n    assert candidate(1, 1) == 2\n    assert candidate(2, 2) == 5, 'no'\n\ncheck(add)\n"
    assert check(ADD, script, entry_point="add").detail == "assert candidate(2, 2) == 5, 'no'"


@pytest.mark.parametrize(
    ("program", "test"),
    [
        ("def f(xs):\n    xs.sort()\n", "xs = [2, 1]\nf(xs)\nassert xs == [1, 2]"),
        ("def f(xs):\n    xs[0].append(9)\n    xs[1]['k'] = 1\n", "a = [1]; d = {}\nf([a, d])\nassert a == [1, 9] and d == {'k': 1}"),
        ("def f(g, x):\n    return [g(y) for y in x]\n", "assert f(lambda y: y * 10, [1, 2]) == [10, 20]"),
        ("def f(g, n):\n    return n * g(n - 1) if n else 1\n", "assert f(lambda n: f(lambda m: 1, n), 3) == 6"),
        ("def f(t, x):\n    return isinstance(x, t)\n", "assert f(int, 3) and not f(str, 3)"),
        ("def f(n):\n    yield from range(n)\n", "assert list(f(3)) == [0, 1, 2]\nassert sum(f(4)) == 6\ng = f(2)\nassert next(g) == 0"),
        ("def f(x):\n    raise ValueError('bad')\n", "try:\n    f(1)\n    assert 0\nexcept ValueError as e:\n    assert str(e) == 'bad'"),
        ("class MyError(KeyError): pass\ndef f():\n    raise MyError(1)\n", "try:\n    f()\n    assert False\nexcept KeyError:\n    pass"),
        ("class Node:\n    def __init__(self, v): self.v, self.next = v, None\ndef f(n):\n    return n.v + (f(n.next) if n.next else 0)\n",
         "a = Node(1)\na.next = Node(2)\nassert f(a) == 3 and a.next.v == 2"),
        ("class Solution:\n    def f(self, x):\n        return {x}\n", "assert Solution().f(3) == {3}"),
        ("def f(x):\n    def inner(y):\n        return x + y\n    return inner\n", "assert f(1)(2) == 3"),
        ("from collections import Counter\ndef f(s):\n    return Counter(s)\n", "assert f('aab') == {'a': 2, 'b': 1} == Counter('aab')"),
        ("LIMIT = 5\ndef f():\n    return LIMIT\n", "assert f() == LIMIT == 5"),
        ("import math\ndef f():\n    return math.pi\n", "assert math.isclose(f(), 3.14159, abs_tol=1e-4)"),
        ("def f(*args, **kwargs):\n    return args, kwargs\n", "assert f(1, k=2) == ((1,), {'k': 2})"),
        ("async def g():\n    return 4\ndef f():\n    import asyncio\n    return asyncio.run(g())\n", "assert f() == 4"),
        ("import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\ndef f():\n    return P(3)\n", "assert f().x == 3"),
        ("def f():\n    print('noise')\n    return open('note.txt', 'w').write('ab')\n", "assert f() == 2"),
        ("def f(x):\n    return int(input())\nif __name__ == '__main__':\n    f(1)\n", "assert callable(f)"),
    ],
)  # fmt: skip
def test_what_tests_need_crosses_by_value_or_by_handle(check: Any, program: str, test: str) -> None:
    result = check(program, test, entry_point="f")
    assert (result.verdict, result.integrity) == (Verdict.PASSED, Integrity.STRONG), result.detail


def test_setup_runs_after_the_program(check: Any) -> None:
    program = "class Node:\n    def __init__(self, v):\n        self.v = v\ndef f(n):\n    return n.v\n"
    assert check(program, "assert f(root) == 7", setup="root = Node(7)").verdict is Verdict.PASSED


def test_an_object_of_the_tests_own_needs_the_weak_way_and_says_so(check: Any) -> None:
    test = "class Box:\n    v = 3\nassert f(Box()) == 3"
    good, bad = check("def f(box):\n    return box.v\n", test), check("def f(box):\n    return 4\n", test)
    assert (good.verdict, good.integrity) == (Verdict.PASSED, Integrity.WEAK)
    assert (bad.verdict, bad.integrity) == (Verdict.WRONG_ANSWER, Integrity.WEAK)


def test_a_result_that_is_not_plain_goes_the_weak_way_only_where_the_reference_does(check: Any) -> None:
    program = "import pathlib\ndef f():\n    return pathlib.PurePath('a')\n"
    test = "import pathlib\nassert f() == pathlib.PurePath('a')"
    assert check(program, test, entry_point="f").verdict is Verdict.NONPLAIN
    weak = check(program, test, entry_point="f", reference=program)
    assert (weak.verdict, weak.integrity) == (Verdict.PASSED, Integrity.WEAK)


def test_calls_are_compared_by_value(sandbox: Sandbox) -> None:
    def result(program: str, *tests: CallTest, entry_point: str = "f") -> Any:
        return next(sandbox.check([(program, Problem("t", entry_point=entry_point, tests=tests))]))

    twice = "def f(x):\n    return [x, x]\n"
    assert result(twice, CallTest((1,), [1, 1]), CallTest(("a",), ["a", "a"])).tests_passed == 2
    wrong = result(twice, CallTest((1,), (1, 1)))
    assert (wrong.verdict, wrong.detail) == (Verdict.WRONG_ANSWER, "f(1) gave [1, 1], expected (1, 1)")
    assert result("def f(x):\n    return 0.1 + 0.2\n", CallTest((1,), 0.3)).verdict is Verdict.WRONG_ANSWER
    method = "class Solution:\n    def f(self, x):\n        return -x\n"
    assert result(method, CallTest((1,), -1), entry_point="Solution().f").verdict is Verdict.PASSED
    with pytest.raises(UserError, match="plain values"):
        result(twice, CallTest((object(),), 1))


def test_scripts_are_compared_by_what_they_print(sandbox: Sandbox) -> None:
    def result(program: str, *tests: StdioTest, timeout_s: float = 1.0) -> Any:
        return next(sandbox.check([(program, Problem("t", tests=tests, timeout_s=timeout_s))]))

    program = "n = int(input())\nif __name__ == '__main__':\n    print(n * 2, ' ')\n    print()\n"
    assert result(program, StdioTest("2\n", "4"), StdioTest("5", "10\n\n")).tests_passed == 2
    wrong = result(program, StdioTest("2\n", "4"), StdioTest("3\n", "4"))
    assert (wrong.verdict, wrong.tests_passed, wrong.tests_run) == (Verdict.WRONG_ANSWER, 1, 2)
    assert wrong.detail == "line 1 of stdout is '6', expected '4'"
    assert result("print(1)\nraise SystemExit\n", StdioTest("", "1")).verdict is Verdict.PASSED
    assert result("print(1)\nraise SystemExit(1)\n", StdioTest("", "1")).verdict is Verdict.EXCEPTION
    assert result("print(1, flush=True)\nimport os; os._exit(0)\n", StdioTest("", "1")).verdict is Verdict.KILLED
    assert result("print(1)\n1/0\n", StdioTest("", "1")).verdict is Verdict.EXCEPTION
    assert result("import time\ntime.sleep(9)\n", StdioTest("", "1"), timeout_s=0.1).verdict is Verdict.TIMEOUT_WALL
    assert result("import sys\nprint(len(sys.stdin.read()))\n", StdioTest("x" * 200_000, "200000")).verdict is Verdict.PASSED


def test_a_problem_of_several_kinds_of_test_needs_all_of_them(sandbox: Sandbox) -> None:
    tests = (CallTest((1,), 2), AssertTest("assert f(2) == 3"), StdioTest("", "hello"))
    problem = Problem("t", entry_point="f", tests=tests)
    program = "def f(x):\n    return x + 1\nif __name__ == '__main__':\n    print('{}')\n"
    right, wrong = sandbox.check([(program.format("hello"), problem), (program.format("bye"), problem)])
    assert (right.verdict, right.tests_passed, right.tests_run) == (Verdict.PASSED, 3, 3)
    assert (wrong.verdict, wrong.tests_passed, wrong.tests_run) == (Verdict.WRONG_ANSWER, 2, 3)


def test_no_tests_is_no_pass(sandbox: Sandbox) -> None:
    assert next(sandbox.check([(ADD, Problem("t"))])).verdict is Verdict.WRONG_ANSWER


def test_hashing_is_the_same_in_every_run(sandbox: Sandbox) -> None:
    first = sandbox.run("print(hash('a'), list({'x', 'y', 'z'}))").stdout
    with Sandbox(workers=1) as other:
        assert other.run("print(hash('a'), list({'x', 'y', 'z'}))").stdout == first
