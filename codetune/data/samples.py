"""Reads SAMPLES.jsonl: one answer per line, `task_id` and either `completion` or `solution`; several lines are several samples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from codetune.data.benchmarks import Benchmark
from codetune.data.files import Row, read_rows, short
from codetune.errors import nearest
from codetune.records import Sample


def read_samples(path: Path, benchmark: Benchmark) -> list[Sample]:
    """The samples in file order, their `task_id`s in the benchmark's form, `index` counted per problem.

    Raises UserError, with the line number, for a row that is no sample or that belongs to no problem of the benchmark.
    """
    known = {problem.task_id for problem in benchmark.problems}
    seen: Counter[str] = Counter()
    samples = []
    for row in read_rows(path):
        given = row.task_id()
        task_id = benchmark.task_id(given)
        if task_id not in known:
            raise row.error(f"benchmark {benchmark.name!r} has no task_id {short(given)}; {_nearest_id(task_id, known)}")
        samples.append(_sample(row, task_id, seen[task_id]))
        seen[task_id] += 1
    return samples


def _sample(row: Row, task_id: str, index: int) -> Sample:
    completion, solution = row.values.get("completion"), row.values.get("solution")
    if completion is None and solution is None:
        raise row.error("neither 'completion' (text that follows the prompt) nor 'solution' (a whole program) is there; give one")
    if completion is not None and solution is not None:
        raise row.error("both 'completion' and 'solution' are there; give one")
    return Sample(
        task_id=task_id,
        completion=None if completion is None else row.text("completion"),
        solution=None if solution is None else row.text("solution"),
        index=index,
        finish=row.text("finish", ""),
        num_tokens=row.whole_number("num_tokens", 0),
        raw=row.text("raw", ""),
    )


def _nearest_id(task_id: str, known: set[str]) -> str:
    """Of many hundred ids only the nearest is worth showing."""
    hint = nearest(task_id, known)
    head, valid, _ = hint.partition("valid: ")
    return head.strip() or f"the first is {sorted(known)[0]!r}" if valid else hint
