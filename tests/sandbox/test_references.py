"""The benchmarks' own references, on the real data: every one passes, and all by value (integrity strong)."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from codetune.records import AssertTest, Integrity, Problem, Verdict
from codetune.sandbox import Sandbox

# MBPP tasks that need more than plain calls: classes of the program (367, 601, 927), results that are subclasses (40, 88, 653, 902),
# a type as argument (533), changed arguments (46), a long run (123).
SPECIAL = {40, 46, 88, 123, 367, 533, 601, 653, 902, 927}


def humaneval(folder: Path) -> list[Problem]:
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Problem(
            row["task_id"],
            prompt=row["prompt"],
            reference=row["canonical_solution"],
            entry_point=row["entry_point"],
            tests=(AssertTest(row["test"] + f"\ncheck({row['entry_point']})\n"),),
        )
        for row in rows
    ]


def mbpp(folder: Path) -> dict[int, Problem]:
    rows = [json.loads(line) for line in (folder / "mbpp" / "mbpp.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        row["task_id"]: Problem(
            f"MBPP/{row['task_id']}",
            reference=row["code"].replace("\r\n", "\n"),
            tests=tuple(AssertTest(test) for test in row["test_list"]),
            setup=row["test_setup_code"].replace("\r\n", "\n"),
            timeout_s=10.0,
        )
        for row in rows
    }


def outcome(sandbox: Sandbox, problems: list[Problem]) -> Counter[tuple[Verdict, Integrity]]:
    return Counter((r.verdict, r.integrity) for r in sandbox.check((p.reference_program, p) for p in problems))


def test_all_humaneval_references_pass_by_value(sandbox: Sandbox, data_folder: Path) -> None:
    assert outcome(sandbox, humaneval(data_folder)) == {(Verdict.PASSED, Integrity.STRONG): 164}


def test_no_humaneval_task_passes_on_a_stub(sandbox: Sandbox, data_folder: Path) -> None:
    jobs = [(p.prompt + "    return None\n", p) for p in humaneval(data_folder)[::4]]
    assert Verdict.PASSED not in {result.verdict for result in sandbox.check(jobs)}


def test_a_sample_of_mbpp_references_and_all_unusual_ones_pass_by_value(sandbox: Sandbox, data_folder: Path) -> None:
    problems = [problem for number, problem in mbpp(data_folder).items() if number % 9 == 0 or number in SPECIAL]
    assert outcome(sandbox, problems) == {(Verdict.PASSED, Integrity.STRONG): len(problems)}


@pytest.mark.slow
def test_all_mbpp_references_pass_by_value(sandbox: Sandbox, data_folder: Path) -> None:
    assert outcome(sandbox, list(mbpp(data_folder).values())) == {(Verdict.PASSED, Integrity.STRONG): 974}
