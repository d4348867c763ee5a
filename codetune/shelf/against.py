"""Runs side by side: the settings in which they differ, their results, and paired differences where the same problems were scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.compare import Comparison, compare
from codetune.data import benchmarks
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError
from codetune.evaluate import Scores
from codetune.models.stages import read
from codetune.records import Json, Problem, ProgramResult, Sample, SampleScore, Verdict
from codetune.runs import read_rows
from codetune.shelf.describe import results_of, score_folders, scores_of, settings_of
from codetune.shelf.find import Found
from codetune.shelf.kinds import CELLS, RESULT
from codetune.study.cells import read_problems


@dataclass(frozen=True, slots=True)
class Paired:
    """One benchmark that two runs answered: the second run minus the first, or why that is not known."""

    benchmark: str
    first: str
    second: str
    gap: Comparison | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Values by setting and by result, one for each run in order; None where a run has no such."""

    names: tuple[str, ...]
    settings: Mapping[str, tuple[Any, ...]]
    results: Mapping[str, tuple[Any, ...]]
    paired: tuple[Paired, ...]


def side_by_side(runs: Sequence[Found]) -> SideBySide:
    """The second and every further run against the first. Raises UserError for fewer than two, and for what is no single run."""
    if len(runs) < 2:
        raise UserError(f"{len(runs)} run given: give two or more to compare")
    for run in runs:
        if run.kind in ("study", "data"):
            instead = "`codetune study report` compares its rows; give cells of it" if run.kind == "study" else "`codetune data stats` does"
            raise UserError(f"{run.path} is {'a study' if run.kind == 'study' else 'data'}, not a run: {instead}")
    settings, results = [settings_of(run.path) for run in runs], [results_of(run.path) | scores_of(run.path) for run in runs]
    names = _distinct([run.path for run in runs])
    paired = tuple(pair for at in range(1, len(runs)) for pair in _pairs(runs[0].path, runs[at].path, names[0], names[at]))
    return SideBySide(tuple(names), _differing(settings), _rows(results), paired)


def _distinct(paths: Sequence[Path]) -> list[str]:
    """Folder names, with as many of those above as tell them apart."""
    for depth in range(1, 8):
        names = ["/".join(path.resolve().parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _rows(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys = dict.fromkeys(key for run in runs for key in run)
    return {key: tuple(run.get(key) for run in runs) for key in keys}


def _differing(runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    return {key: values for key, values in _rows(runs).items() if any(value != values[0] for value in values)}


def _pairs(first: Path, second: Path, name: str, other: str) -> list[Paired]:
    found = []
    ours, theirs = _scored(first), _scored(second)
    for benchmark in (each for each in ours if each in theirs):
        try:
            gap = _gap(benchmark, theirs[benchmark], ours[benchmark])
            found.append(Paired(benchmark, name, other, gap))
        except UserError as error:
            found.append(Paired(benchmark, name, other, None, str(error)))
    return found


def _scored(folder: Path) -> dict[str, Path]:
    """Benchmark to the folder that has its scores; the run's own before those of evaluations in it."""
    found: dict[str, Path] = {}
    for place in score_folders(folder):
        for name in read(place / RESULT).get("benchmarks") or {}:
            if (place / f"scores-{name}.jsonl").exists():
                found.setdefault(name, place)
    return found


def _gap(name: str, first: Path, second: Path) -> Comparison:
    """First minus second. Raises UserError where the problems are others, or what BLEU needs is not there."""
    hashes = [(read(place / RESULT).get("benchmarks") or {}).get(name, {}).get("benchmark_sha256") for place in (first, second)]
    if all(hashes) and hashes[0] != hashes[1]:
        raise UserError(f"the two were scored on different problems of that name (sha256 {hashes[0][:8]} and {hashes[1][:8]})")
    benchmark = _benchmark(name, first, second)
    return compare(benchmark, _scores(name, first), _scores(name, second))


def _benchmark(name: str, first: Path, second: Path) -> Benchmark:
    """As the study kept its problems, else as it loads; for executed answers their `task_id`s are enough."""
    rows = read_rows(first / f"scores-{name}.jsonl")
    executed = any((row.get("result") or {}).get("verdict") for row in rows)
    for place in (first, second):
        if place.parent.name == CELLS and (kept := read_problems(place.parent.parent, name)):
            return Benchmark(name, "execution" if executed else "text", tuple(kept), "", "")
    if executed:
        ids = dict.fromkeys(str(row["task_id"]) for row in rows if "task_id" in row)
        return Benchmark(name, "execution", tuple(map(Problem, ids)), "", "")
    return benchmarks.load(name)


def _scores(name: str, place: Path) -> tuple[Scores, list[Sample]]:
    rows = [row for row in read_rows(place / f"scores-{name}.jsonl") if "task_id" in row]
    scores = tuple(SampleScore(str(row["task_id"]), int(row.get("index") or 0), result=_result(row)) for row in rows)
    samples = [
        Sample(str(row["task_id"]), row.get("completion"), row.get("solution"), int(row.get("index") or 0))
        for row in read_rows(place / f"samples-{name}.jsonl")
        if "task_id" in row
    ]
    return Scores(name, "", len({score.task_id for score in scores}), len(scores), samples=scores), samples


def _result(row: Json) -> ProgramResult | None:
    verdict = (row.get("result") or {}).get("verdict")
    return ProgramResult(Verdict(verdict)) if verdict in {each.value for each in Verdict} else None
