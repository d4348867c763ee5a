"""The pool: order, laziness, early stops, lost workers, `run`, `loads`, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from codetune.errors import UserError
from codetune.records import AssertTest, Problem, StdioTest, Verdict
from codetune.sandbox import Sandbox
from codetune.sandbox.worker import Worker

ONE = Problem("t", entry_point="f", tests=(AssertTest("assert f() == 1"),), timeout_s=5.0)
RIGHT, WRONG = "def f():\n    return 1\n", "def f():\n    return 2\n"


def test_results_come_in_order_whatever_takes_long(sandbox: Sandbox) -> None:
    programs = [f"import time\ntime.sleep({0.2 if n % 5 == 0 else 0})\n{RIGHT if n % 3 else WRONG}" for n in range(20)]
    verdicts = [result.verdict for result in sandbox.check((program, ONE) for program in programs)]
    assert verdicts == [Verdict.PASSED if n % 3 else Verdict.WRONG_ANSWER for n in range(20)]


def test_jobs_are_read_as_they_are_needed(sandbox: Sandbox) -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, Problem]]:
        nonlocal taken
        while True:
            taken += 1
            yield RIGHT, ONE

    results = sandbox.check(endless())
    assert [next(results).verdict for _ in range(5)] == [Verdict.PASSED] * 5
    results.close()  # type: ignore[attr-defined]
    assert taken < 30
    assert next(sandbox.check([(RIGHT, ONE)])).verdict is Verdict.PASSED


def test_stopping_early_while_a_program_hangs_leaves_a_working_sandbox() -> None:
    with Sandbox(workers=2) as sandbox:
        hanging = Problem("t", entry_point="f", tests=ONE.tests, timeout_s=500.0)
        results = sandbox.check([(RIGHT, ONE), ("while True: pass\n", hanging)])
        assert next(results).verdict is Verdict.PASSED
        results.close()  # type: ignore[attr-defined]
        assert next(sandbox.check([(RIGHT, ONE)])).verdict is Verdict.PASSED


def test_every_job_gets_a_verdict_though_its_zygote_is_killed() -> None:
    with Sandbox(workers=1) as sandbox:
        results = sandbox.check([("import time\ntime.sleep(0.3)\n" + RIGHT, ONE)] * 3)
        assert next(results).verdict is Verdict.PASSED
        os.kill(sandbox._workers[0]._process.pid, signal.SIGKILL)
        assert [result.verdict for result in results] == [Verdict.PASSED, Verdict.PASSED]


def test_a_script_runs_with_stdin_and_gives_what_it_printed(sandbox: Sandbox) -> None:
    good = sandbox.run("import sys\nprint(input()[::-1])\nprint('note', file=sys.stderr)\n", stdin="abc\n")
    assert (good.verdict, good.stdout, good.stderr, good.detail) == (Verdict.PASSED, "cba\n", "note\n", "")
    bad = sandbox.run("print(1)\ndef g():\n    return 1 / 0\ng()\n")
    assert (bad.verdict, bad.stdout, bad.detail) == (Verdict.EXCEPTION, "1\n", "ZeroDivisionError: division by zero")
    assert bad.stderr.startswith('Traceback (most recent call last):\n  File "<program>", line 4')
    started = time.monotonic()
    slow = sandbox.run("print('before', flush=True)\nwhile True: pass\n", timeout_s=0.5)
    assert (slow.verdict, slow.stdout) == (Verdict.TIMEOUT_CPU, "before\n")
    assert slow.seconds <= time.monotonic() - started


def test_a_script_gets_its_arguments_and_nothing_else_in_argv(sandbox: Sandbox) -> None:
    look = "import sys\nprint(sys.argv)\n"
    given = ["--times", "3", "", "ä b", "$(touch x)", "'; import os"]
    assert sandbox.run(look, arguments=given).stdout == f"{['program.py', *given]}\n"
    assert sandbox.run(look).stdout == "['program.py']\n"
    scripted = Problem("t", tests=(StdioTest("", "['program.py']"),))
    assert next(sandbox.check([(look, scripted)])).verdict is Verdict.PASSED
    parsed = "import argparse\nreader = argparse.ArgumentParser()\nreader.add_argument('--times', type=int)\nprint(reader.parse_args())\n"
    assert sandbox.run(parsed, arguments=["--times", "3"]).stdout == "Namespace(times=3)\n"
    refused = sandbox.run(parsed, arguments=["--times", "x"])
    assert (refused.verdict, refused.detail) == (Verdict.EXCEPTION, "SystemExit: 2")
    assert "usage: program.py [-h] [--times TIMES]" in refused.stderr


def test_loads_says_whether_definitions_execute(sandbox: Sandbox) -> None:
    programs = ["def f(x: int) -> int: ...", "class A(B): pass", "def f(", "import sys\nsys.exit()", "while True: pass"]
    verdicts = [result.verdict for result in sandbox.loads(programs, timeout_s=0.5)]
    assert verdicts == [Verdict.PASSED, Verdict.EXCEPTION, Verdict.SYNTAX_ERROR, Verdict.EXCEPTION, Verdict.TIMEOUT_CPU]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"memory_mb": 8}, {"timeout_s": 0.0}])
def test_limits_that_make_no_sense_are_refused_in_one_line(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Sandbox(**wrong)  # type: ignore[arg-type]


def test_the_timeout_of_the_sandbox_overrides_the_problems() -> None:
    with Sandbox(workers=1, timeout_s=0.3) as sandbox:
        assert next(sandbox.check([("import time\ntime.sleep(9)\n" + RIGHT, ONE)])).verdict is Verdict.TIMEOUT_WALL


def test_what_runs_can_be_given_up_from_another_thread() -> None:
    with Sandbox(workers=1, memory_mb=256) as one:
        stopping = threading.Timer(0.2, one.stop)
        stopping.start()
        with pytest.raises(UserError, match="was stopped"):
            one.run("import time\ntime.sleep(60)")
        with pytest.raises(UserError, match="was stopped"):
            next(one.check([(RIGHT, ONE)]))


def test_all_that_the_attacks_keep_busy_start_at_once_and_nobody_waits_for_them_meanwhile() -> None:
    seen = list[list[str]]()
    two = Sandbox(workers=2, memory_mb=256, meanwhile=lambda: seen.append([vars(worker)["_tier"] for worker in two._workers]))
    with two:
        assert seen == [["", ""]]


def test_a_step_that_is_handed_over_before_a_worker_is_ready_is_run(sandbox: Sandbox) -> None:
    with contextlib.closing(Worker(7, sandbox._enclosed)) as early:
        early.start(next(sandbox._judge.run("print(1)", "", 10.0, ())))
        while (outcome := early.advance(select.select(early.sockets(), [], [], 30)[0])) is None:
            pass
        assert (outcome.fault, outcome.stopped, outcome.status) == ("", "", 0)
        assert early.tier.split(":")[0] == sandbox.tier.split(":")[0]


@pytest.mark.parametrize("end", [Worker.close, Worker.abort])
def test_a_worker_that_is_ended_while_it_starts_leaves_nothing(sandbox: Sandbox, end: Callable[[Worker], None]) -> None:
    number = 97_000 + os.getpid()  # in its command line, and in no other's
    for after_s in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        with contextlib.closing(Worker(number, sandbox._enclosed)) as worker:
            time.sleep(after_s)
            end(worker)
    left = [one.pid for one in psutil.process_iter(["cmdline"]) if str(number) in (one.info["cmdline"] or ())]
    assert left == []


def test_outside_a_with_statement_it_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="with statement"):
        list(Sandbox(workers=1).check([(RIGHT, ONE)]))
