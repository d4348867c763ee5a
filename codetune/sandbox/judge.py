"""From a program and a problem to the steps that decide about it, and from their outcomes to one `ProgramResult`.

A judgement is a generator: it yields `Step`s, is sent `Outcome`s, and returns the result. The pool runs many at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from codetune.errors import UserError
from codetune.records import AgreementTest, AssertTest, CallTest, Integrity, Problem, ProgramResult, StdioTest, Verdict
from codetune.sandbox import wire
from codetune.sandbox.confine import Limits
from codetune.sandbox.packed import Calls, join, pack
from codetune.sandbox.worker import Outcome, Step

Judgement = Generator[Step, Outcome, ProgramResult]
_Call = tuple[tuple[Any, ...], bytes, float]  # arguments, packed value that is expected, tolerance

_REFERENCE_TIMES = 3.0  # a program may take this times what the reference takes, where that is more than the problem's limit
_REFERENCE_PATIENCE = 10.0  # and the reference itself this times the limit
_GROUP_BYTES = 8 << 20  # of tests that go to one pair of processes
_FLOAT_ATOL = 1e-6  # for agreement with a reference's floats
_WALL_TIMES, _WALL_EXTRA_S = 3.0, 2.0  # the backstop by wall clock, for programs that sleep or wait


@dataclass(frozen=True, slots=True)
class RunResult:
    """A program run as a script, without tests. `verdict` is PASSED where it ended normally; `stderr` is the last 16 KiB."""

    verdict: Verdict
    detail: str
    stdout: str
    stderr: str
    seconds: float


class Judge:
    """Writes steps under one set of limits; remembers of problems what their own references told."""

    def __init__(self, memory_mb: int, timeout_s: float | None, output_bytes: int) -> None:
        self.memory_mb, self.timeout_s, self.output_bytes = memory_mb, timeout_s, output_bytes
        self._known: dict[int, Problem] = {}
        self._weak_references: dict[int, bool] = {}
        self._limits_s: dict[int, float] = {}
        self._groups: dict[int, list[Calls]] = {}

    def forget(self) -> None:
        """Drop what is remembered of problems."""
        for kept in (self._known, self._weak_references, self._limits_s, self._groups):
            kept.clear()

    def check(self, program: str, problem: Problem) -> Judgement:
        """All tests of the problem: calls and assertions by value, scripts one by one; stops at the first group that fails."""
        groups = yield from self._call_groups(problem)
        asserts = [test.code for test in problem.tests if isinstance(test, AssertTest)]
        scripts = [test for test in problem.tests if isinstance(test, StdioTest)]
        if isinstance(groups, ProgramResult):
            return groups
        parts: list[ProgramResult] = []
        for calls in groups:
            if _all_passed(parts):
                parts.append((yield from self._values(program, problem, calls=calls))[0])
        if asserts and _all_passed(parts):
            parts.append((yield from self._asserts(program, problem, asserts)))
        for test in scripts:
            if not _all_passed(parts):
                break
            payload = {"kind": "script", "program": program, "stdin": test.stdin, "arguments": (), "expected": test.stdout}
            parts.append(self._result((yield from self._timed(payload, problem, _script_bytes(test)))))
        return _joined(parts) if parts else ProgramResult(Verdict.WRONG_ANSWER, "the problem has no tests")

    def run(self, program: str, stdin: str, timeout_s: float, arguments: Sequence[str] = ()) -> Generator[Step, Outcome, RunResult]:
        """The program as a script."""
        payload = {"kind": "script", "program": program, "stdin": stdin, "arguments": tuple(arguments), "expected": None}
        outcome = yield self._step(payload, timeout_s, len(stdin) * 4)
        result = self._result(outcome)
        return RunResult(result.verdict, result.detail, result.stdout, str(outcome.report.get("stderr", "")), result.seconds)

    def loads(self, program: str, timeout_s: float) -> Judgement:
        """Whether the definitions execute. WEAK: that is the program's own word."""
        outcome = yield self._step({"kind": "loads", "program": program}, timeout_s)
        return self._result(outcome, Integrity.WEAK)

    def _call_groups(self, problem: Problem) -> Generator[Step, Outcome, list[Calls] | ProgramResult]:
        """Calls with what is expected of them, in groups that fit into a message; found out once per problem.

        Where the reference's answer is what is expected, the reference is asked first.
        """
        key = self._key(problem)
        if key not in self._groups:
            calls: list[_Call] = [(t.input, _packed(t.output), t.atol) for t in problem.tests if isinstance(t, CallTest)]
            agreements = [test for test in problem.tests if isinstance(test, AgreementTest)]
            outputs = yield from self._reference_outputs(problem, [test.input for test in agreements])
            if isinstance(outputs, ProgramResult):
                return outputs
            for test, (output, is_floats) in zip(agreements, outputs, strict=True):
                if output:
                    calls.append((test.input, output, test.atol or (_FLOAT_ATOL if is_floats else 0.0)))
            self._groups[key] = _grouped(calls)
        return self._groups[key]

    def _reference_outputs(
        self, problem: Problem, inputs: list[tuple[Any, ...]]
    ) -> Generator[Step, Outcome, list[tuple[bytes, bool]] | ProgramResult]:
        """The packed answer of the reference to each input, with whether it is floats alone.

        Empty where it is too large for its memory or for a message. Not to be unpacked here: it comes from a process that ran
        the tests' code.
        """
        outputs: list[tuple[bytes, bool]] = []
        while len(outputs) < len(inputs):
            left = inputs[len(outputs) :]
            payload = self._payload("outputs", problem.reference_program, problem) | {"inputs": _packed(left), "count": len(left)}
            outcome = yield self._step(payload, _REFERENCE_PATIENCE * self._limit_s(problem))
            outputs += outcome.report.get("outputs", ())
            result = self._result(outcome)
            if result.verdict in (Verdict.MEMORY, Verdict.NONPLAIN):
                outputs.append((b"", False))
            elif result.verdict is not Verdict.PASSED:
                found = f"{len(outputs)} of {len(inputs)} inputs: {result.detail}"
                return ProgramResult(Verdict.INFRASTRUCTURE, f"the reference of {problem.task_id} answered {found}")
        return outputs

    def _asserts(self, program: str, problem: Problem, asserts: list[str]) -> Judgement:
        """By value; in one process only where the tests, or the problem's own reference, cannot do without."""
        result, hands_object = yield from self._values(program, problem, asserts=asserts)
        if result.verdict is Verdict.PASSED or not (hands_object or (yield from self._reference_is_weak(problem, asserts))):
            return result
        return (yield from self._in_process(program, problem, asserts))

    def _in_process(self, program: str, problem: Problem, asserts: list[str]) -> Judgement:
        payload = {"kind": "in_process", "program": program, "setup": problem.setup, "asserts": asserts}
        return self._result((yield from self._timed(payload, problem)), Integrity.WEAK)

    def _reference_is_weak(self, problem: Problem, asserts: list[str]) -> Generator[Step, Outcome, bool]:
        """Whether the reference itself passes in one process only: a program alone cannot choose the weak way."""
        if not problem.reference:
            return False
        key = self._key(problem)
        if key not in self._weak_references:
            result, _ = yield from self._values(problem.reference_program, problem, asserts=asserts)
            self._weak_references[key] = result.verdict is not Verdict.PASSED and (
                (yield from self._in_process(problem.reference_program, problem, asserts)).verdict is Verdict.PASSED
            )
        return self._weak_references[key]

    def _values(
        self, program: str, problem: Problem, calls: Calls | None = None, asserts: Sequence[str] = ()
    ) -> Generator[Step, Outcome, tuple[ProgramResult, bool]]:
        payload = self._payload("values", program, problem) | {"calls": calls, "asserts": list(asserts)}
        outcome = yield from self._timed(payload, problem)
        return self._result(outcome), bool(outcome.report.get("hands_object", False))

    def _payload(self, kind: str, program: str, problem: Problem) -> dict[str, Any]:
        reference = problem.reference_program if problem.reference else ""
        known = {"setup": problem.setup, "entry_point": problem.entry_point, "reference": reference, "prompt": problem.prompt}
        return {"kind": kind, "program": program, **known}

    def _timed(self, payload: dict[str, Any], problem: Problem, file_bytes: int = 0) -> Generator[Step, Outcome, Outcome]:
        """One step; a program that runs out of processor time gets more where the problem's reference needs long here, too."""
        limit_s = self._limit_s(problem)
        outcome = yield self._step(payload, limit_s, file_bytes)
        if outcome.stopped != "cpu" or self.timeout_s or not problem.reference:
            return outcome
        key = self._key(problem)
        if key not in self._limits_s:
            reference = yield self._step({**payload, "program": problem.reference_program}, _REFERENCE_PATIENCE * limit_s, file_bytes)
            self._limits_s[key] = max(limit_s, _REFERENCE_TIMES * reference.cpu_s if not reference.stopped else 0.0)
        if self._limits_s[key] > limit_s:
            outcome = yield self._step(payload, self._limits_s[key], file_bytes)
        return outcome

    def _key(self, problem: Problem) -> int:
        """Stands for the problem, whose tests may hold lists and so have no hash; it is kept alive, so the number stays its own."""
        self._known[id(problem)] = problem
        return id(problem)

    def _limit_s(self, problem: Problem) -> float:
        return self.timeout_s or self._limits_s.get(self._key(problem), problem.timeout_s)

    def _step(self, payload: dict[str, Any], cpu_s: float, file_bytes: int = 0) -> Step:
        limits = Limits(self.memory_mb, cpu_s, _WALL_TIMES * cpu_s + _WALL_EXTRA_S, max(self.output_bytes, file_bytes))
        return Step(_plain(wire.dumps, {**payload, "keep_bytes": self.output_bytes, "file_bytes": limits.file_bytes}), limits)

    def _result(self, outcome: Outcome, integrity: Integrity = Integrity.STRONG) -> ProgramResult:
        """The checker's word, corrected by how the candidate ended where the checker only saw it vanish."""
        report = outcome.report
        verdict, detail = Verdict(report.get("verdict", "killed")), str(report.get("detail", "the checker ended without a word"))
        if outcome.fault:
            verdict, detail = Verdict.INFRASTRUCTURE, outcome.fault
        elif verdict is Verdict.KILLED and (outcome.stopped == "cpu" or outcome.status == -signal.SIGXCPU):
            verdict, detail = Verdict.TIMEOUT_CPU, f"no end within {outcome.cpu_s:.1f} s of processor time"
        elif verdict is Verdict.KILLED and outcome.stopped == "wall":
            verdict, detail = Verdict.TIMEOUT_WALL, f"no end within {outcome.seconds:.1f} s, of which it computed {outcome.cpu_s:.1f} s"
        elif verdict is Verdict.KILLED and outcome.stopped == "threads":
            detail = "the program was killed for its number of threads"
        elif verdict is Verdict.KILLED and outcome.status < 0:
            detail = f"the program was killed by {signal.Signals(-outcome.status).name}"
        if verdict is not Verdict.INFRASTRUCTURE and (limit := int(report.get("output_cut_at", 0))):
            verdict, detail = Verdict.OUTPUT_LIMIT, f"more than {limit} bytes of output; {detail}".removesuffix("; ")
        return ProgramResult(
            verdict=verdict,
            detail=detail,
            exception=str(report.get("exception", "")),
            tests_passed=int(report.get("passed", 0)),
            tests_run=int(report.get("run", 0)),
            seconds=outcome.seconds,
            cpu_s=outcome.cpu_s,
            integrity=integrity,
            stdout=str(report.get("stdout", "")),
            line=int(report.get("line", 0)),
        )


def _packed(value: Any) -> bytes:
    return _plain(pack, value)


def _plain(write: Callable[[Any], bytes], value: Any) -> bytes:
    try:
        return write(value)
    except wire.WireError as error:
        raise UserError(f"a test of the problem cannot be sent to the sandbox ({error}): use plain values") from None


def _grouped(calls: Sequence[_Call]) -> list[Calls]:
    groups: list[list[_Call]] = []
    size = _GROUP_BYTES
    for call in calls:
        more = len(_packed(call[0])) + len(call[1])
        if size + more > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(call)
        size += more
    return [
        Calls(_packed([args for args, _, _ in group]), join([output for _, output, _ in group]), [atol for _, _, atol in group])
        for group in groups
    ]


def _script_bytes(test: StdioTest) -> int:
    """stdin is a file, too, and expected output may be long: both must fit under the limit of a file."""
    return 4 * max(len(test.stdin), len(test.stdout))


def _all_passed(parts: Sequence[ProgramResult]) -> bool:
    return all(part.verdict is Verdict.PASSED for part in parts)


def _joined(parts: Sequence[ProgramResult]) -> ProgramResult:
    """Groups of tests as one result: counts and seconds add up, the verdict is the last one, trust the lowest one."""
    last = parts[-1]
    return ProgramResult(
        verdict=last.verdict,
        detail=last.detail,
        exception=last.exception,
        tests_passed=sum(part.tests_passed for part in parts),
        tests_run=sum(part.tests_run for part in parts),
        seconds=sum(part.seconds for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        integrity=Integrity.WEAK if any(part.integrity is Integrity.WEAK for part in parts) else Integrity.STRONG,
        stdout=next((part.stdout for part in reversed(parts) if part.stdout), ""),
        line=last.line,
    )
