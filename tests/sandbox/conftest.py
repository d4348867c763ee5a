"""Sandboxes of every tier, and the short way to a verdict."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codetune.records import AssertTest, Integrity, Problem, ProgramResult, Verdict
from codetune.sandbox import Sandbox

Check = Callable[..., ProgramResult]
CONTAINER = "T1 in a plain container"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, memory_mb=512) as started:
        yield started


@pytest.fixture(scope="session")
def check(sandbox: Sandbox) -> Check:
    """`check(program, "assert ...", ..., entry_point="f", reference=...)`: the result of one program."""
    return checks_of(sandbox)


def checks_of(sandbox: Sandbox) -> Check:
    def run(program: str, *asserts: str, **fields: Any) -> ProgramResult:
        problem = Problem("test", tests=tuple(AssertTest(code) for code in asserts), **fields)
        return next(iter(sandbox.check([(program, problem)])))

    return run


def need_tier(tier: str) -> None:
    """Skips where bubblewrap is missing or may not make namespaces; what it then does with the sandbox is the test's to find out."""
    probe = ["bwrap", "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    if tier == "T2" and (shutil.which("bwrap") is None or subprocess.run(probe, capture_output=True, timeout=60).returncode):
        pytest.skip("bubblewrap is not installed, or may not make namespaces here")


@pytest.fixture(scope="session", params=["T2", "T1", CONTAINER])
def any_tier(request: pytest.FixtureRequest) -> Iterator[Check]:
    """`check` in each tier; `T1` also in a process with the filter and the capabilities of a Docker container."""
    need_tier(request.param)
    if request.param == CONTAINER:
        yield from _checks_in_a_container()
        return
    with Sandbox(workers=1, memory_mb=512, tier=request.param) as started:
        assert started.tier.startswith(request.param)
        yield checks_of(started)


def _checks_in_a_container() -> Iterator[Check]:
    script = Path(__file__).with_name("plain_container.py")
    with subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None
        first = json.loads(answers.readline())
        assert first["tier"].startswith("T1")
        assert first["fallback"], "bubblewrap cannot work there, and is not missed"

        def run(program: str, *asserts: str, **fields: Any) -> ProgramResult:
            print(json.dumps({"program": program, "asserts": asserts, "fields": fields}), file=requests, flush=True)
            row = json.loads(answers.readline())
            return ProgramResult(**{**row, "verdict": Verdict(row["verdict"]), "integrity": Integrity(row["integrity"])})

        yield run
        requests.close()
