"""The programs that other harnesses fall to, one test each, in every tier: none forges a pass, leaves a trace, or stops the run."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from bench.attack_programs import PROGRAMS, RIGHT, Host, new_secret
from codetune.records import Integrity, Verdict


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_forges_a_pass_leaves_a_trace_or_stops_the_run(any_tier: Any, tmp_path: Path, name: str) -> None:
    host = Host(tmp_path, new_secret())
    for folder in tmp_path.parents[:3]:
        folder.chmod(0o777)
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = any_tier(
            host.program(name, server.getsockname()[1]),
            "import unittest",
            f"unittest.TestCase().assertEqual(f(), {host.secret!r})",
            f"assert f() == {host.secret!r}",
            entry_point="f",
            timeout_s=0.5,
        )
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert result.verdict in PROGRAMS[name][1], result.detail
    assert result.tests_passed <= 1 or name == RIGHT  # the import
    assert result.integrity is Integrity.STRONG
    if "daemon" in name:
        time.sleep(0.5)
    assert host.untouched()
    right = any_tier(host.program(RIGHT, 0), f"assert f() == {host.secret!r}", entry_point="f")
    assert (right.verdict, right.tests_passed) == (Verdict.PASSED, 1), "the sandbox lives on, and a right answer passes"
