"""From a program and a problem to the steps that decide about it, and from their outcomes to one `ProgramResult`.

A judgement is a generator: it yields `Step`s, is sent `Outcome`s, and returns the result. The pool runs many at once.
"""

from __future__ import annotations

import signal
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from codetune.errors import UserError
from codetune.records import AssertTest, CallTest, Integrity, Problem, ProgramResult, StdioTest, Verdict
from codetune.sandbox import wire
from codetune.sandbox.confine import Limits
from codetune.sandbox.worker import Outcome, Step

Judgement = Generator[Step, Outcome, ProgramResult]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A program run as a script, without tests. `verdict` is PASSED where it ended normally; `stderr` is the last 16 KiB."""

    verdict: Verdict
    detail: str
    stdout: str
    stderr: str
    seconds: float


class Judge:
    """Writes steps under one set of limits; remembers which problems' own references need the weak way."""

    def __init__(self, memory_mb: int, timeout_s: float | None, output_bytes: int) -> None:
        self.memory_mb, self.timeout_s, self.output_bytes = memory_mb, timeout_s, output_bytes
        self._weak_references: dict[tuple[object, ...], bool] = {}

    def check(self, program: str, problem: Problem) -> Judgement:
        """All tests of the problem: calls and assertions by value, scripts one by one; stops at the first group that fails."""
        calls = tuple(t for t in problem.tests if isinstance(t, CallTest))
        asserts = tuple(t for t in problem.tests if isinstance(t, AssertTest))
        result = ProgramResult(Verdict.FAILED, "the problem has no tests")
        if calls:
            result = _joined(None, (yield from self._values(program, problem, [("call", (t.input, t.output)) for t in calls]))[0])
        if asserts and (not calls or result.verdict is Verdict.PASSED):
            part = yield from self._asserts(program, problem, [("assert", t.code) for t in asserts])
            result = _joined(result if calls else None, part)
        for number, test in enumerate(t for t in problem.tests if isinstance(t, StdioTest)):
            first = not (calls or asserts or number)
            if not first and result.verdict is not Verdict.PASSED:
                break
            payload = {"kind": "script", "program": program, "stdin": test.stdin, "expected": test.stdout}
            outcome = yield self._step(payload, self._timeout(problem), len(test.stdin) * 4)
            result = _joined(None if first else result, self._result(outcome))
        return result

    def run(self, program: str, stdin: str, timeout_s: float) -> Generator[Step, Outcome, RunResult]:
        """The program as a script."""
        payload = {"kind": "script", "program": program, "stdin": stdin, "expected": None}
        outcome = yield self._step(payload, timeout_s, len(stdin) * 4)
        result = self._result(outcome)
        return RunResult(result.verdict, result.detail, result.stdout, str(outcome.report.get("stderr", "")), result.seconds)

    def loads(self, program: str, timeout_s: float) -> Judgement:
        """Whether the definitions execute. WEAK: that is the program's own word."""
        outcome = yield self._step({"kind": "loads", "program": program}, timeout_s)
        return self._result(outcome, Integrity.WEAK)

    def _asserts(self, program: str, problem: Problem, tests: list[tuple[str, str]]) -> Judgement:
        """By value; in one process only where the tests, or the problem's own reference, cannot do without."""
        result, hint = yield from self._values(program, problem, tests)
        if result.verdict is Verdict.PASSED or not hint:
            return result
        if hint == "value" and not (yield from self._reference_is_weak(problem, tests)):
            return result
        payload = {"kind": "in_process", "program": program, "setup": problem.setup, "tests": tests}
        outcome = yield self._step(payload, self._timeout(problem))
        return self._result(outcome, Integrity.WEAK)

    def _reference_is_weak(self, problem: Problem, tests: list[tuple[str, str]]) -> Generator[Step, Outcome, bool]:
        """Whether the reference itself fails by value for its results: a program alone cannot choose the weak way."""
        if not problem.reference:
            return False
        key = (problem.task_id, problem.reference_program, problem.setup, tuple(tests))
        if key not in self._weak_references:
            result, hint = yield from self._values(problem.reference_program, problem, tests)
            self._weak_references[key] = result.verdict is not Verdict.PASSED and bool(hint)
        return self._weak_references[key]

    def _values(self, program: str, problem: Problem, tests: list[tuple[str, Any]]) -> Generator[Step, Outcome, tuple[ProgramResult, str]]:
        payload = {
            "kind": "values",
            "program": program,
            "setup": problem.setup,
            "entry_point": problem.entry_point,
            "reference": problem.reference_program if problem.reference else "",
            "prompt": problem.prompt,
            "tests": tests,
        }
        outcome = yield self._step(payload, self._timeout(problem))
        return self._result(outcome), str(outcome.report.get("hint", ""))

    def _timeout(self, problem: Problem) -> float:
        return self.timeout_s or problem.timeout_s

    def _step(self, payload: dict[str, Any], timeout_s: float, stdin_bytes: int = 0) -> Step:
        # stdin is a file, too, and must fit under the same limit.
        limits = Limits(self.memory_mb, int(timeout_s) + 2, max(self.output_bytes, stdin_bytes))
        try:
            message = wire.dumps({**payload, "keep_bytes": self.output_bytes, "file_bytes": limits.file_bytes})
        except wire.WireError as error:
            raise UserError(f"a test of the problem cannot be sent to the sandbox ({error}): use plain values") from None
        return Step(message, limits, timeout_s)

    def _result(self, outcome: Outcome, integrity: Integrity = Integrity.STRONG) -> ProgramResult:
        """The checker's word, corrected by how the candidate ended where the checker only saw it vanish."""
        report = outcome.report
        verdict, detail = Verdict(report.get("verdict", "exited")), str(report.get("detail", "the checker ended without a word"))
        if outcome.lost:
            detail = "the sandbox's worker was lost twice with this program"
        if verdict is Verdict.EXITED:
            if outcome.timed_out or outcome.status == -signal.SIGXCPU:
                verdict, detail = Verdict.TIMEOUT, f"no end within the time limit ({outcome.seconds:.1f} s)"
            elif outcome.status < 0:
                detail = f"the program was killed by {signal.Signals(-outcome.status).name}"
        if verdict is not Verdict.PASSED and int(report.get("output_bytes", 0)) >= self.output_bytes:
            detail = f"output limit of {self.output_bytes} bytes reached; {detail}"
        return ProgramResult(
            verdict=verdict,
            detail=detail,
            tests_passed=int(report.get("passed", 0)),
            tests_run=int(report.get("run", 0)),
            seconds=outcome.seconds,
            integrity=integrity,
            stdout=str(report.get("stdout", "")),
        )


def _joined(before: ProgramResult | None, part: ProgramResult) -> ProgramResult:
    """Two groups of tests as one: counts and seconds add up, the verdict is the later one, trust the lower one."""
    if before is None:
        return part
    return ProgramResult(
        verdict=part.verdict,
        detail=part.detail,
        tests_passed=before.tests_passed + part.tests_passed,
        tests_run=before.tests_run + part.tests_run,
        seconds=before.seconds + part.seconds,
        integrity=Integrity.WEAK if Integrity.WEAK in (before.integrity, part.integrity) else Integrity.STRONG,
        stdout=part.stdout or before.stdout,
    )
