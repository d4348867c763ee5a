"""A checker judges another program only where the tests so far can have left nothing behind."""

from __future__ import annotations

import psutil
import pytest

from codetune.records import AssertTest, CallTest, Problem, StdioTest, Verdict
from codetune.sandbox import Sandbox
from codetune.sandbox.harmless import is_harmless

PROGRAM = "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    "code",
    [
        "assert f(1) == 1", "METADATA = {'author': 'jt'}", "class Node:\n    def __init__(self, value):\n        pass", "this is no code (",
        "import math\nfrom collections import Counter\nassert math.isclose(f(1.0), 1) and Counter(f('aa'))['a'] == 2",
        "def check(candidate):\n    xs = [3]\n    xs[0] = 1\n    candidate(xs)\n    assert xs == [1]\ncheck(f)",
        "x = f([1])\nx.append(2)\nassert x[-1] == 2",
    ],
)  # fmt: skip
def test_ordinary_tests_are_harmless(code: str) -> None:
    assert is_harmless(code)


@pytest.mark.parametrize(
    "code",
    [
        "import random\nrandom.seed(1)", "random.random()", "import sys", "from os import environ", "import math\nmath.pi = 3",
        "math.pi = 3", "del math.pi", "setattr(math, 'pi', 3)", "math.__dict__['pi'] = 3", "import string\nstring.digits += '0'",
        "vars(math)['pi'] = 3", "copy._deepcopy_dispatch[int] = 1", "exec('1')", "from decimal import getcontext",
        "import collections.abc as c\nc.Sequence.register(int)", "from . import x", "__builtins__", "open('x')",
        "class A:\n    x = __import__",
    ],
)  # fmt: skip
def test_tests_that_may_change_what_outlives_them_are_not(code: str) -> None:
    assert not is_harmless(code)


def children(sandbox: Sandbox) -> set[int]:
    return {process.pid for process in psutil.Process(sandbox._workers[0]._process.pid).children(recursive=True)}  # type: ignore[attr-defined]


def test_a_checker_is_used_again_unless_its_tests_may_have_left_something() -> None:
    def verdict(*tests: AssertTest | CallTest | StdioTest, timeout_s: float = 5.0, program: str = PROGRAM) -> Verdict:
        return next(sandbox.check([(program, Problem("t", entry_point="f", tests=tests, timeout_s=timeout_s))])).verdict

    with Sandbox(workers=1, tier="T1") as sandbox:
        assert verdict(AssertTest("assert f(1) == 1")) is Verdict.PASSED
        first = children(sandbox)
        assert len(first) == 1
        for program in (PROGRAM, "def f(x): return 2\n", "import os\ndef f(x): os._exit(0)\n", "def f(x):\n    while True: pass\n"):
            verdict(AssertTest("assert f(1) == 1"), CallTest((1,), 1), timeout_s=0.2, program=program)
            assert children(sandbox) == first, "whatever the program did"
        assert verdict(AssertTest("import math\nmath.pi = 3\nassert f(1) == 1")) is Verdict.PASSED
        assert children(sandbox) == set()
        assert verdict(AssertTest("import math\nassert f(math.pi) > 3.1")) is Verdict.PASSED
        assert children(sandbox) not in (set(), first)


def test_a_checker_that_its_tests_stop_is_replaced() -> None:
    """Tests that loop, exit or exhaust the memory in the checker are a failure of one program, not of those that follow."""
    with Sandbox(workers=1, tier="T1", memory_mb=256) as sandbox:
        for test in ("while True: f(1)", "import os\nos._exit(0)", "x = []\nwhile True: x.append(f('x' * 100000))", "while True: pass"):
            hostile = Problem("t", entry_point="f", tests=(AssertTest(test),), timeout_s=0.3)
            assert next(sandbox.check([(PROGRAM, hostile)])).verdict is not Verdict.PASSED
            assert next(sandbox.check([(PROGRAM, Problem("t", entry_point="f", tests=(CallTest((1,), 1),)))])).verdict is Verdict.PASSED
