"""Problems of the user's own: the three forms of tests, and faults with their line numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetune.data import benchmarks
from codetune.errors import UserError
from codetune.records import AssertTest, CallTest, StdioTest

ADD = {"task_id": "own/0", "prompt": "def add(a, b):\n", "entry_point": "add", "tests": ["assert add(1, 2) == 3"]}
DOUBLE = {"task_id": 1, "instruction": "Double a number.", "entry_point": "double", "tests": [{"input": [2], "output": 4}]}
UPPER = {"task_id": "2", "instruction": "Upper case.", "tests": [{"stdin": "abc\n", "stdout": "ABC\n"}], "timeout_s": 2}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_three_forms_of_tests(tmp_path: Path) -> None:
    benchmark = benchmarks.load(write(tmp_path / "mine.jsonl", [ADD, DOUBLE, UPPER]))
    assert (benchmark.name, benchmark.kind, benchmark.file) == ("mine", "execution", "mine.jsonl")
    assert [problem.task_id for problem in benchmark.problems] == ["own/0", "1", "2"]
    assert [problem.tests for problem in benchmark.problems] == [
        (AssertTest("assert add(1, 2) == 3"),),
        (CallTest((2,), 4),),
        (StdioTest("abc\n", "ABC\n"),),
    ]
    assert benchmark.problems[2].timeout_s == 2.0
    assert benchmark.task_id(1) == "1"


def test_references_without_tests_are_a_text_benchmark(tmp_path: Path) -> None:
    row = {"task_id": "a", "instruction": "Say hi.", "reference": "print('hi')"}
    assert benchmarks.load(write(tmp_path / "text.jsonl", [row])).kind == "text"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({**DOUBLE, "task_id": "own/0"}, "'own/0' appears twice"),
        ({"instruction": "x", "tests": ["assert f()"]}, "'task_id' is missing"),
        ({**DOUBLE, "task_id": 1.5}, "'task_id' must be a string or a number, got 1.5"),
        ({"task_id": "b", "tests": ["assert f()"]}, "neither 'prompt' nor 'instruction'"),
        ({**DOUBLE, "entry_point": ""}, "give its name as 'entry_point'"),
        ({**DOUBLE, "tests": "assert double(2) == 4"}, "'tests' must be a list"),
        ({**DOUBLE, "tests": [{"input": 2, "output": 4}]}, "a test must be an assert line"),
        ({**DOUBLE, "tests": ["assert double(2) = 4"]}, "is not Python"),
        ({**DOUBLE, "timeout_s": 0}, "'timeout_s' must be seconds"),
        ({"task_id": "b", "instruction": "x", "test": ["assert f()"]}, "unknown key 'test'; did you mean 'tests'?"),
    ],
)
def test_a_faulty_row_names_its_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "bad.jsonl", [ADD, row])
    with pytest.raises(UserError) as caught:
        benchmarks.load(path)
    assert f"{path}, line 2: " in str(caught.value)
    assert says in str(caught.value)


def test_other_keys_are_the_users_notes(tmp_path: Path) -> None:
    assert len(benchmarks.load(write(tmp_path / "noted.jsonl", [{**ADD, "difficulty": "easy", "tags": []}])).problems) == 1


def test_problems_that_cannot_be_scored_are_refused(tmp_path: Path) -> None:
    untested = {"task_id": "c", "instruction": "x"}
    with pytest.raises(UserError, match="1 of 2 problems have no tests"):
        benchmarks.load(write(tmp_path / "mixed.jsonl", [ADD, untested]))
    with pytest.raises(UserError, match="neither tests nor a reference"):
        benchmarks.load(write(tmp_path / "nothing.jsonl", [untested]))
