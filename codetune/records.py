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
    """What became of one program. Only `PASSED` counts for pass@k; `INFRASTRUCTURE` is no answer, all others count as failed."""

    PASSED = "passed"  # the checker compared every expected value and found it equal
    WRONG_ANSWER = "wrong_answer"  # a value was wrong, or an assertion did not hold
    EXCEPTION = "exception"  # the program raised an exception, SystemExit and what the sandbox refuses included
    SYNTAX_ERROR = "syntax_error"  # the program does not compile
    TIMEOUT_CPU = "timeout_cpu"  # used up its processor time
    TIMEOUT_WALL = "timeout_wall"  # did not end, though it had processor time left: it slept or waited
    MEMORY = "memory"  # ran into the memory limit
    OUTPUT_LIMIT = "output_limit"  # printed more than it may
    KILLED = "killed"  # ended before the checker had its answers (os._exit, a signal)
    NONPLAIN = "nonplain"  # gave an object that cannot be compared by value, where plain data was wanted
    INFRASTRUCTURE = "infrastructure"  # the sandbox failed, not the program: to be judged again


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
    """`entry_point(*input) == output`, by value; floats may be off by `atol` + 1e-7 of the expected value where `atol` is not 0."""

    input: tuple[Any, ...]
    output: Any
    atol: float = 0.0


@dataclass(frozen=True, slots=True)
class AgreementTest:
    """`entry_point(*input)` gives what the problem's reference gives, compared as in `CallTest` (EvalPlus's inputs).

    Where the reference gives floats and `atol` is 0, they may be off by 1e-6.
    """

    input: tuple[Any, ...]
    atol: float = 0.0


@dataclass(frozen=True, slots=True)
class StdioTest:
    """Run as a script: `stdin` in, `stdout` expected (trailing white space of lines is not compared)."""

    stdin: str
    stdout: str


Test = AssertTest | CallTest | AgreementTest | StdioTest


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to write code for. Every data source and every benchmark yields these.

    `prompt` is code that a completion continues (HumanEval); `instruction` is the wish in words; `input` the extra
    text of an Alpaca row. `reference` is the answer as training text: a whole program, or the continuation of `prompt`
    where there is one. `suffix` is code that follows the completion (ODEX). `setup` runs before the tests, after the program.
    """

    task_id: str
    instruction: str = ""
    input: str = ""
    prompt: str = ""
    reference: str = ""
    suffix: str = ""
    entry_point: str = ""
    tests: tuple[Test, ...] = ()
    setup: str = ""
    family: str = ""  # the group of alike problems, where the source has such (basics)
    source: str = ""
    timeout_s: float = 5.0  # processor seconds for a program with all its tests

    @property
    def reference_program(self) -> str:
        """The whole program that the reference stands for."""
        return self.prompt + self.reference + self.suffix


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """One thing to learn from, whatever its source: a pair, a conversation or plain code.

    Of a pair, `text` answers `instruction` (with `input`) or continues `prompt`; a conversation has `messages` and no `text`; plain
    code has `text` alone. Duplicates keep the member with the highest `rank`; a `group` is never torn apart between splits.
    """

    id: str  # unique in its source, and the same in every run
    text: str = ""
    instruction: str = ""
    input: str = ""
    prompt: str = ""
    messages: tuple[Message, ...] = ()
    entry_point: str = ""
    tests: tuple[Test, ...] = ()
    language: str = "python"
    source: str = ""
    origin: str = ""  # where a person finds it: a file of a repository, a URL
    licence: str = ""  # as the source states it, SPDX where it does; "" is unknown
    group: str = ""  # repository, question or problem family; "" stands for the document alone
    split: str = ""  # the source's own split (train, validation, test); "" is yet to be assigned
    rank: float = 0.0  # stars, votes, a score: of the source's own
    facts: Json = field(default_factory=dict)  # what else the source says: stars, repository_bytes, opted_out, main_language, ...

    @property
    def kind(self) -> str:
        """"pair", "chat" or "code"."""
        return "chat" if self.messages else "pair" if self.instruction or self.prompt else "code"

    @property
    def whole(self) -> str:
        """All its text: what is compared, counted and searched."""
        parts = (self.instruction, self.input, self.prompt, self.text, *(message.content for message in self.messages))
        return "\n".join(part for part in parts if part)

    @property
    def problem(self) -> Problem:
        """A pair or plain code as a problem with its reference."""
        return Problem(
            task_id=self.id, instruction=self.instruction, input=self.input, prompt=self.prompt, reference=self.text,
            entry_point=self.entry_point, tests=self.tests, family=self.group, source=self.source,
        )  # fmt: skip

    @classmethod
    def of(cls, problem: Problem, **more: Any) -> Document:
        """A problem with its reference as a pair; `more` are further fields."""
        return cls(
            id=problem.task_id, text=problem.reference, instruction=problem.instruction, input=problem.input, prompt=problem.prompt,
            entry_point=problem.entry_point, tests=problem.tests, group=problem.family, source=problem.source, **more,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """One of n answers to a problem: `completion` follows the problem's prompt, or `solution` is the whole program."""

    task_id: str
    completion: str | None = None
    solution: str | None = None
    index: int = 0  # which of the n samples of its problem
    finish: str = ""  # "eos", "stop", "length", "too_long" (the prompt: there is no answer) or "" when unknown
    num_tokens: int = 0
    raw: str = ""  # the decoded text before code was extracted


@dataclass(frozen=True, slots=True)
class ProgramResult:
    """The sandbox's word on one program. `seconds` is wall clock, `cpu_s` the processor time of the program itself."""

    verdict: Verdict
    detail: str = ""  # the first failing assertion or the exception, one line
    exception: str = ""  # the exception's type where the verdict is `exception` or `memory`
    tests_passed: int = 0
    tests_run: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    integrity: Integrity = Integrity.STRONG
    stdout: str = ""  # capped
    line: int = 0  # of the program, where its exception was raised; 0 where it is not known


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
