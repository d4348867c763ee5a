"""One sandbox for all tests of this folder, and the short way to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from codetune.records import AssertTest, Problem, ProgramResult
from codetune.sandbox import Sandbox

Check = Callable[..., ProgramResult]


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, memory_mb=512) as started:
        yield started


@pytest.fixture(scope="session")
def check(sandbox: Sandbox) -> Check:
    """`check(program, "assert ...", ..., entry_point="f", reference=...)`: the result of one program."""

    def run(program: str, *asserts: str, timeout_s: float = 5.0, **fields: str) -> ProgramResult:
        problem = Problem("test", tests=tuple(AssertTest(code) for code in asserts), timeout_s=timeout_s, **fields)
        return next(iter(sandbox.check([(program, problem)])))

    return run
