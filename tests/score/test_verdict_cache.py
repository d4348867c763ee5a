"""Verdicts kept on disk: what is known is not run again, and nothing is taken for known that is not the same."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codetune.records import AgreementTest, AssertTest, CallTest, Problem, ProgramResult, StdioTest, Verdict
from codetune.sandbox import Sandbox
from codetune.score.execution import Job
from codetune.score.verdicts import VerdictCache

RIGHT, WRONG = "def f(x):\n    return [x]\n", "def f(x):\n    return (x,)\n"
PROBLEM = Problem("t", entry_point="f", tests=(CallTest((1,), [1]), AssertTest("assert f('a') == ['a']")), timeout_s=2.0)


class Counting:
    """The real sandbox, with a count of what it was asked."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.asked, self.tier = sandbox, 0, sandbox.tier

    def check(self, jobs: Iterable[Job]) -> Iterator[ProgramResult]:
        for job in jobs:
            self.asked += 1
            yield from self.sandbox.check([job])

    def loads(self, programs: Iterable[str]) -> Iterator[ProgramResult]:
        for program in programs:
            self.asked += 1
            yield from self.sandbox.loads([program])


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as started:
        yield started


def test_known_verdicts_come_from_the_file_and_are_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    jobs = [(RIGHT, PROBLEM), (WRONG, PROBLEM), ("def f(x):\n    1 / 0\n", PROBLEM), ("def f(", PROBLEM)]
    first = VerdictCache(Counting(sandbox), tmp_path / "kept" / "verdicts.sqlite")
    before = list(first.check(jobs))
    assert [result.verdict.value for result in before] == ["passed", "wrong_answer", "exception", "syntax_error"]
    first.close()
    second = VerdictCache(Counting(sandbox), tmp_path / "kept" / "verdicts.sqlite")
    again = [dataclasses.replace(problem) for _, problem in jobs]
    assert list(second.check((program, problem) for (program, _), problem in zip(jobs, again, strict=True))) == before
    assert (second.checker.asked, second.found) == (0, 4)  # type: ignore[attr-defined]


def test_whether_definitions_execute_is_known_too(sandbox: Sandbox, tmp_path: Path) -> None:
    for asked in (2, 0):
        cache = VerdictCache(Counting(sandbox), tmp_path / "verdicts.sqlite")
        assert [result.verdict for result in cache.loads([RIGHT, "1 / 0"])] == [Verdict.PASSED, Verdict.EXCEPTION]
        assert cache.checker.asked == asked  # type: ignore[attr-defined]
        cache.close()


CHANGES: dict[str, dict[str, Any]] = {
    "a list for a tuple": {"tests": (CallTest((1,), (1,)), PROBLEM.tests[1])},
    "True for 1": {"tests": (CallTest((True,), [1]), PROBLEM.tests[1])},
    "a tolerance": {"tests": (CallTest((1,), [1], 0.5), PROBLEM.tests[1])},
    "one test less": {"tests": PROBLEM.tests[:1]},
    "another kind of test": {"tests": (StdioTest("", ""),)},
    "inputs only": {"tests": (AgreementTest((1,)),), "reference": RIGHT},
    "a set-up": {"setup": "x = 1"},
    "a time limit": {"timeout_s": 3.0},
    "a reference": {"reference": RIGHT},
    "a prompt": {"prompt": "import math\n"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_problem_is_not_known(sandbox: Sandbox, tmp_path: Path, change: dict[str, Any]) -> None:
    cache = VerdictCache(Counting(sandbox), tmp_path / "verdicts.sqlite")
    changed = dataclasses.replace(PROBLEM, **change)
    assert len(list(cache.check([(RIGHT, PROBLEM), (RIGHT, changed)]))) == 2
    assert cache.checker.asked == 2  # type: ignore[attr-defined]


def test_what_may_end_otherwise_is_asked_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """A timeout by the wall clock, and a failure of the sandbox itself (here a reference that cannot answer)."""
    cache = VerdictCache(Counting(sandbox), tmp_path / "verdicts.sqlite")
    sleeping = Problem("sleeps", entry_point="f", tests=PROBLEM.tests, timeout_s=0.1)
    broken = Problem("broken", entry_point="f", tests=(AgreementTest((1,)),), reference="def f(x):\n    raise ValueError\n")
    jobs = [("import time\ntime.sleep(9)\n", sleeping), (RIGHT, broken)]
    for _ in range(2):
        assert [result.verdict for result in cache.check(jobs)] == [Verdict.TIMEOUT_WALL, Verdict.INFRASTRUCTURE]
    assert cache.checker.asked == 4  # type: ignore[attr-defined]


def test_sets_are_known_whatever_order_they_have_in_this_process(sandbox: Sandbox, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom codetune.records import CallTest, Problem\nfrom codetune.sandbox import Sandbox\n"
        "from codetune.score.verdicts import VerdictCache\n"
        "problem = Problem('t', entry_point='f', tests=(CallTest((set('abcdefgh'),), 8),))\n"
        "with Sandbox(workers=1) as sandbox:\n    cache = VerdictCache(sandbox, Path(sys.argv[1]))\n"
        "    list(cache.check([('f = len', problem)]))\n    print(cache.found)\n"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "verdicts.sqlite")], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]  # fmt: skip
    assert found == ["0", "1"]


@pytest.mark.parametrize("damage", ["not a database", "a folder", "rows of rubbish"])
def test_a_file_that_cannot_be_used_is_done_without(sandbox: Sandbox, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "verdicts.sqlite"
    if damage == "a folder":
        path.mkdir()
    elif damage == "not a database":
        path.write_text("hello " * 1000)
    else:
        list(VerdictCache(sandbox, path).check([(RIGHT, PROBLEM)]))
        with sqlite3.connect(path) as database:
            database.execute("UPDATE verdict SET result = 'rubbish'")
        database.close()
    assert [result.verdict for result in VerdictCache(sandbox, path).check([(RIGHT, PROBLEM)] * 2)] == [Verdict.PASSED] * 2


def test_what_was_judged_before_a_kill_is_known(sandbox: Sandbox, tmp_path: Path) -> None:
    def jobs() -> list[Job]:
        return [(f"def f(x):\n    return [x]  # {number}\n", PROBLEM) for number in range(20)]

    path = tmp_path / "verdicts.sqlite"
    pid = os.fork()
    if pid == 0:
        with Sandbox(workers=1) as own:
            for number, _ in enumerate(VerdictCache(own, path).check(jobs()), 1):
                if number == 12:
                    os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    cache = VerdictCache(sandbox, path)
    assert {result.verdict for result in cache.check(jobs())} == {Verdict.PASSED}
    assert cache.found in (11, 12)
