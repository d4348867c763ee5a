"""Damaged files of samples and of own problems: one line for the user or exactly what the rows say, never a traceback.

`make fuzz` tries 100,000 inputs, the usual run a thousand or so.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codetune.data import own
from codetune.data.benchmarks import Benchmark
from codetune.data.files import read_rows
from codetune.data.samples import read_samples
from codetune.errors import UserError
from codetune.records import AssertTest, CallTest, Problem, Sample, StdioTest, to_json
from tests import fuzz

COUNT = fuzz.count(1500) // 3
MBPP = Benchmark("mbpp", "execution", tuple(Problem(f"MBPP/{number}") for number in range(11, 31)), "mbpp.jsonl", "", "MBPP/")
SAMPLES: list[dict[str, Any]] = [
    {"task_id": 11, "completion": "    return a + b\n"},
    {"task_id": "12", "solution": "def f(x):\n    return {'é': [x]}\n"},
    {"task_id": "MBPP/13", "completion": "", "finish": "eos", "num_tokens": 7, "raw": "```python\n```"},
    to_json(Sample("MBPP/11", completion="pass", index=1)),
]
CALL, STDIO = {"input": [2, {"a": [None]}], "output": 4}, {"stdin": "abc\n", "stdout": "ABC\n"}
PROBLEMS: list[dict[str, Any]] = [
    {"task_id": "own/0", "prompt": "def add(a, b):\n", "entry_point": "add", "tests": ["assert add(1, 2) == 3"], "reference": "    ..."},
    {"task_id": 1, "instruction": "Double.", "entry_point": "double", "tests": [CALL, CALL], "timeout_s": 2},
    {"task_id": "2", "instruction": "Upper.", "input": "abc", "tests": [STDIO], "setup": "import re", "note": 1},
]


def damaged_file(rng: random.Random, rows: list[dict[str, Any]]) -> bytes:
    """A file of these rows, in one of the forms that are read, with damage to its values or to its bytes."""
    kind = rng.randrange(4)
    chosen = [fuzz.mutate_json(rng, row) if kind != 0 and rng.random() < 0.3 else row for row in rows]
    ascii_only = rng.random() < 0.5 or kind != 0
    if rng.random() < 0.2:
        data = json.dumps(chosen, indent=rng.choice((None, 1)), ensure_ascii=ascii_only).encode()
    else:
        data = "".join(json.dumps(row, ensure_ascii=ascii_only) + rng.choice(("\n", "\r\n", "\n\n")) for row in chosen).encode()
    if kind == 0:
        data = fuzz.mutate_bytes(rng, data)
    if rng.random() < 0.1:
        data = gzip.compress(data, 1)
        data = fuzz.mutate_bytes(rng, data) if rng.random() < 0.5 else data
    return data


def outcomes(path: Path, rows: list[dict[str, Any]], seed: int, accept: Callable[[list[dict[str, Any]]], None]) -> Counter[str]:
    """Tries `COUNT` damaged files; `accept` reads the file and is told what the file says by the standard library alone."""
    found, refusals = Counter[str](), list[str]()
    for number in range(COUNT):
        data = damaged_file(random.Random(f"{seed}/{number}"), rows)
        path.write_bytes(data)
        try:
            accept(said := says(data))
        except UserError as error:
            refusals.append(str(error))
        else:
            found["as written" if said == rows else "changed"] += 1
    unclear = [line for line in refusals if not line.startswith(str(path)) or len(line.splitlines()) != 1 or len(line) > 1000]
    assert not unclear, unclear[:3]
    return found + Counter(refused=len(refusals))


def says(data: bytes) -> list[dict[str, Any]]:
    """The objects of a file, or no objects if it cannot be read; then a reader that accepts it is caught by the comparison."""
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
        if text.lstrip()[:1] == "[":
            return list(json.loads(text))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except Exception:
        return []


def written(value: Any) -> str:
    """What tells 1 from True and 1.0, and NaN from nothing else."""
    return json.dumps(value, sort_keys=True)


def test_samples_say_what_their_rows_say(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"

    def accept(rows: list[dict[str, Any]]) -> None:
        samples, seen = read_samples(path, MBPP), Counter[str]()
        assert len(samples) == len(rows) > 0
        for sample, row in zip(samples, rows, strict=True):
            number = str(row["task_id"]).strip().removeprefix("MBPP/")
            assert sample.task_id == f"MBPP/{int(number)}"
            assert sample.index == seen[sample.task_id]
            seen[sample.task_id] += 1
            assert written([sample.completion, sample.solution]) == written([row.get("completion"), row.get("solution")])
            assert isinstance(sample.completion if sample.solution is None else sample.solution, str)
            for key, absent in (("finish", ""), ("num_tokens", 0), ("raw", "")):
                given = row.get(key)
                assert written(getattr(sample, key)) == written(absent if given is None else given)

    found = outcomes(path, SAMPLES, 1, accept)
    assert min(found["refused"], found["changed"]) > COUNT / 10, found


def test_own_problems_say_what_their_rows_say(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"

    def accept(rows: list[dict[str, Any]]) -> None:
        problems = own.load(path)
        assert len({problem.task_id for problem in problems}) == len(problems) == len(rows) > 0
        for problem, row in zip(problems, rows, strict=True):
            assert problem.task_id == str(row["task_id"])
            for key in ("instruction", "input", "prompt", "reference", "entry_point", "setup"):
                given = row.get(key)
                assert written(getattr(problem, key)) == written("" if given is None else given)
            assert problem.timeout_s == row.get("timeout_s", 5.0)
            tests = row.get("tests")
            for test, given in zip(problem.tests, [] if tests is None else tests, strict=True):
                assert written(form(test)) == written({key: given[key] for key in form(test)} if isinstance(given, dict) else given)

    found = outcomes(path, PROBLEMS, 2, accept)
    assert min(found["refused"], found["changed"]) > COUNT / 10, found


def form(test: AssertTest | CallTest | StdioTest) -> Any:
    """A test as a row of a file gives it."""
    match test:
        case AssertTest(code):
            return code
        case CallTest(arguments, output):
            return {"input": list(arguments), "output": output}
        case StdioTest(stdin, stdout):
            return {"stdin": stdin, "stdout": stdout}


def test_rows_are_the_objects_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"

    def accept(rows: list[dict[str, Any]]) -> None:
        read = [row.values for row in read_rows(path)]
        assert rows
        assert written(read) == written(rows)

    found = outcomes(path, [*SAMPLES, *PROBLEMS], 3, accept)
    assert min(found["refused"], found["changed"]) > COUNT / 10, found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"task_id": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"task_id": "' + b"9" * 5000 + b'", "completion": ""}', "has no task_id '999"),
        ('{"task_id": "\u0661\u0661", "completion": ""}'.encode(), "has no task_id"),
        (b'{"task_id": 11, "completion": ' + b"[" * 100_000, "nested more than 100 deep"),
        (b'{"task_id": 11, "completion": ' + b"[" * 985 + b"]" * 985 + b"}", "nested more than 100 deep"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b'{"task_id": 11, "completion": "a", "completion": "b"}', "the key 'completion' is there twice"),
    ],
    ids=["number", "digits", "other digits", "brackets", "lists", "list file", "twice"],
)
def test_hostile_rows_are_refused_in_one_line(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        read_samples(path, MBPP)
    assert len(str(caught.value)) < 1000


def test_nesting_up_to_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": ' + b"[" * 99 + b"]" * 99 + b"}")
    assert len(read_rows(path)) == 1
    path.write_bytes(b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}")
    with pytest.raises(UserError, match="nested"):
        read_rows(path)
