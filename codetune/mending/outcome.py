"""What came of mending a file: the rounds, the patch, and whether the tests pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from codetune.mending.files import CodeFile
from codetune.mending.loop import Round, best
from codetune.records import Integrity, Json, to_json


@dataclass(frozen=True, slots=True)
class Mended:
    """`patch` is empty where the tests do not pass, and where they passed from the first."""

    rounds: tuple[Round, ...]
    patch: str
    sandbox_tier: str

    @classmethod
    def of(cls, rounds: Sequence[Round], code: CodeFile, sandbox_tier: str) -> Mended:
        """The outcome of the rounds of a file."""
        patch = code.patch_to(rounds[-1].program) if rounds[-1].passed else ""
        return cls(tuple(rounds), patch, sandbox_tier)

    @property
    def passed(self) -> bool:
        """Whether the tests pass, in the sandbox."""
        return self.rounds[-1].passed

    @property
    def best(self) -> Round:
        """The round that passed, else the one that passed the most tests."""
        return best(self.rounds)

    def summary(self) -> Json:
        """As one JSON object."""
        found = {"passed": self.passed, "best_round": self.best.number, "patch": self.patch, "sandbox_tier": self.sandbox_tier}
        return {**found, "rounds": [to_json(one) for one in self.rounds]}


def in_a_line(one: Round) -> str:
    """A round for people: what its program came to, what is odd."""
    result = one.result
    counts = f"{result.tests_passed} of {result.tests_run} tests pass" if result.tests_run else "no test could run"
    said = f"round {one.number}: {'passed' if one.passed else result.verdict.value}, {counts}"
    at = f" (line {result.line})" if result.line else ""
    return "; ".join(part for part in (f"{said}: {result.detail}{at}" if result.detail else said, one.remark) if part)


def notes(mended: Mended) -> list[str]:
    """What must be known to trust the outcome, or to understand why there is none."""
    last, first = mended.rounds[-1], mended.rounds[0]
    found = []
    if last.passed and last.result.integrity is Integrity.WEAK:
        found.append("the tests hand over objects of their own, so they ran beside the program, which could forge the verdict")
    if mended.sandbox_tier.startswith("T0"):
        found.append("the programs ran without a sandbox: no verdict of theirs can be trusted")
    if last.passed and last.number:
        unseen = f"{last.unseen} of {last.result.tests_run} tests were never shown to the model"
        found.append(unseen if last.unseen else "the model was shown every test: look whether the code does more than pass them")
    missing = first.result.detail.partition("No module named '")[2].partition("'")[0].partition(".")[0]
    if not last.passed and missing and missing not in sys.stdlib_module_names:
        found.append(f"the sandbox has Python's own modules alone, and no {missing!r}: code that needs it cannot be tested there")
    return found
