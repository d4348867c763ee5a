"""Reading samples: how they refer to problems, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codetune.data.benchmarks import Benchmark
from codetune.data.samples import read_samples
from codetune.errors import UserError
from codetune.records import Problem, Sample, to_json

MBPP = Benchmark("mbpp", "execution", (Problem("MBPP/11"), Problem("MBPP/12")), "mbpp.jsonl", "", "MBPP/")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_task_ids_in_all_forms_are_counted_per_problem(tmp_path: Path) -> None:
    rows = [{"task_id": each, "solution": "x"} for each in (11, "11", "MBPP/11", 12)]
    samples = read_samples(write(tmp_path / "s.jsonl", *rows), MBPP)
    assert [(sample.task_id, sample.index) for sample in samples] == [("MBPP/11", 0), ("MBPP/11", 1), ("MBPP/11", 2), ("MBPP/12", 0)]


def test_our_own_sample_rows_come_back_as_they_were(tmp_path: Path) -> None:
    sample = Sample("MBPP/11", completion="def f(): ...", finish="eos", num_tokens=7, raw="def f(): ...\n")
    assert read_samples(write(tmp_path / "s.jsonl", to_json(sample)), MBPP) == [sample]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"task_id": 11}, "neither 'completion'"),
        ({"task_id": 11, "completion": "x", "solution": "x"}, "both 'completion' and 'solution'"),
        ({"task_id": 11, "completion": ["x"]}, "'completion' must be a string, got ['x']"),
        ({"completion": "x"}, "'task_id' is missing"),
        ({"task_id": "MBPP/111", "completion": "x"}, "benchmark 'mbpp' has no task_id 'MBPP/111'; did you mean 'MBPP/11'?"),
        ({"task_id": "other", "completion": "x"}, "benchmark 'mbpp' has no task_id 'other'; the first is 'MBPP/11'"),
    ],
)
def test_a_bad_row_names_its_line(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "s.jsonl", {"task_id": 11, "completion": "x"}, row)
    with pytest.raises(UserError) as caught:
        read_samples(path, MBPP)
    assert str(caught.value).startswith(f"{path}, line 2: {says}")
