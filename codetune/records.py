"""The frozen records that cross a stage: problem -> sample -> verdict -> score.

Records hold plain data and turn to and from JSON rows; they have no behaviour beyond that. A field's unit is
part of its name. Nothing here imports anything of codetune.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


class Verdict(enum.StrEnum):
    """What became of one program. Only `PASSED` counts for pass@k."""

    PASSED = "passed"  # the checker compared every expected value and found it equal
    FAILED = "failed"  # a value was wrong, or an assertion did not hold
    ERROR = "error"  # the program raised an exception
    SYNTAX = "syntax"  # the program does not compile
    TIMEOUT = "timeout"  # killed from outside at the wall-clock limit
    MEMORY = "memory"  # ran into the memory limit
    EXITED = "exited"  # ended before the checker had its answers (sys.exit, os._exit, a signal)
    BLOCKED = "blocked"  # the sandbox refused an operation that the program needed


class Integrity(enum.StrEnum):
    """How far a verdict can be trusted against a program that wants to forge it."""

    STRONG = "strong"  # tests and expected values were never in the process that ran the program
    WEAK = "weak"  # tests ran in the program's own process


@dataclass(frozen=True, slots=True)
class AssertTest:
    """Python statements that see the program's names and raise AssertionError where it is wrong."""

    code: str


@dataclass(frozen=True, slots=True)
class CallTest:
    """`entry_point(*input) == output`, by value."""

    input: tuple[Any, ...]
    output: Any


@dataclass(frozen=True, slots=True)
class StdioTest:
    """Run as a script: `stdin` in, `stdout` expected (trailing white space of lines is not compared)."""

    stdin: str
    stdout: str


Test = AssertTest | CallTest | StdioTest


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to write code for. Every data source and every benchmark yields these.

    `prompt` is code that a completion continues (HumanEval); `instruction` is the wish in words; `input` the extra
    text of an Alpaca row. `reference` is the answer as training text: a whole program, or the continuation of `prompt`
    where there is one. `setup` runs before the tests, after the program.
    """

    task_id: str
    instruction: str = ""
    input: str = ""
    prompt: str = ""
    reference: str = ""
    entry_point: str = ""
    tests: tuple[Test, ...] = ()
    setup: str = ""
    family: str = ""  # the group of alike problems, where the source has such (basics)
    source: str = ""
    timeout_s: float = 5.0

    @property
    def reference_program(self) -> str:
        """The whole program that the reference stands for."""
        return self.prompt + self.reference


@dataclass(frozen=True, slots=True)
class Sample:
    """One of n answers to a problem: `completion` follows the problem's prompt, or `solution` is the whole program."""

    task_id: str
    completion: str | None = None
    solution: str | None = None
    index: int = 0  # which of the n samples of its problem
    finish: str = ""  # "eos", "stop", "length" or "" when unknown
    num_tokens: int = 0
    raw: str = ""  # the decoded text before code was extracted


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The sandbox's word on one program."""

    verdict: Verdict
    detail: str = ""  # the first failing assertion or the exception, one line
    tests_passed: int = 0
    tests_run: int = 0
    seconds: float = 0.0
    integrity: Integrity = Integrity.STRONG
    stdout: str = ""  # capped


@dataclass(frozen=True, slots=True)
class SampleScore:
    """All that was measured on one sample. `metrics` holds text metrics in 0..1."""

    task_id: str
    index: int
    program: str = ""
    result: ProgramResult | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def to_json(record: Any) -> Any:
    """A record (or a list, tuple or dict of them) as plain JSON data, `None` and empty fields kept."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, enum.Enum):
        return record.value
    if isinstance(record, dict):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    return record
