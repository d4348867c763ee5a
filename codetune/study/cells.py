"""Reads a study's run folder into typed records; cells that are not done are named, never guessed at.

The folder's layout is in docs/architecture.md ("The run folder"). A last line that a kill cut short is left out; fields
that a newer writer added are ignored. Nothing here writes but `write_problems`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from codetune.errors import UserError
from codetune.models.stages import read
from codetune.records import Json, Problem
from codetune.runs import read_rows, write_rows
from codetune.score.statistics import paired_difference
from codetune.study.cell_evidence import Diagnosis
from codetune.study.gates import Gate, Lead, better_than_base
from codetune.study.measures import CellMeasures, read_measures, with_parts

Record = TypeVar("Record")
BASE, FEW_SHOT = "base", "base few-shot"  # the rows that train nothing
FAILURE = "failure.json"  # in a cell's folder: why its last try ended without a result
TUNED = "tuned"  # after a row's name: with the settings that its search found
BROUGHT = "brought"  # the method of what was tuned elsewhere


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """The `train` part of a cell's result; a field that was not recorded is None."""

    seconds: float | None = None
    steps: int | None = None
    tokens: int | None = None
    supervised_tokens: int | None = None
    tokens_per_s: float | None = None
    peak_memory_bytes: float | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    trainable_share: float | None = None
    adapter_bytes: float | None = None
    learning_rate: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    best_val_loss: float | None = None
    packing: str | None = None
    fill: float | None = None
    precision: str | None = None
    search: Mapping[str, Any] | None = None  # settings searched for before: best, default, trials, what they cost
    budget: Mapping[str, Any] | None = None  # what was settled where budgets are equal by time or memory
    same_as: str | None = None  # the cell that was taken over, as the search found nothing better


@dataclass(frozen=True, slots=True)
class BenchmarkSummary:
    """One benchmark's part of a cell's result. `pass_at_k` is empty where nothing is executed."""

    num_problems: int = 0
    num_samples: int = 0
    pass_at_k: Mapping[str, float] = field(default_factory=dict)
    pass_at_k_ci95: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    sandbox_tier: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    signatures: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """pass@1, or BLEU where nothing is executed."""
        return self.pass_at_k.get("1", self.metrics.get("bleu"))


@dataclass(frozen=True, slots=True)
class Cell:
    """One finished cell: model x row x data x seed."""

    path: Path
    model: str
    method: str
    row: str
    data: str
    seed: int
    train: TrainSummary | None
    benchmarks: Mapping[str, BenchmarkSummary]
    gates: tuple[Gate, ...]
    peak_memory_bytes: float | None
    provenance: Json
    config: Json
    factors: Json = field(default_factory=dict)  # pretrained_on, corpus, data_size: what the study varies besides methods
    tuned: bool = False  # trained with what a search found
    brought: bool = False  # tuned elsewhere
    measures: CellMeasures = field(default_factory=CellMeasures)
    diagnosis: tuple[Diagnosis, ...] = ()  # what its evidence points to, where something is wrong
    overlap: Json = field(default_factory=dict)  # of training data with benchmarks: how much, left out or not, examples


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A cell folder without a readable result, and how far it got."""

    key: str
    label: str
    state: str


@dataclass(frozen=True, slots=True)
class Study:
    """A study's folder as found on disk."""

    path: Path
    name: str
    recipe: Json
    cells: tuple[Cell, ...]
    unfinished: tuple[Unfinished, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scored sample: `completion` is what the model wrote, `program` what was run; `verdict` is "" where nothing was."""

    task_id: str
    index: int
    completion: str
    program: str
    verdict: str
    detail: str
    metrics: Mapping[str, float]

    @property
    def sentence_bleu(self) -> float | None:
        return self.metrics.get("sentence_bleu", self.metrics.get("bleu"))


def read_study(study_dir: Path) -> Study:
    """Every cell of a study. Raises UserError where the folder holds no study."""
    folder = study_dir / "cells"
    if not folder.is_dir():
        raise UserError(f"{study_dir} holds no study (no folder {folder.name}/): give the folder that `codetune study run` wrote")
    recipe = read(study_dir / "study.json")
    cells: list[Cell] = []
    unfinished: list[Unfinished] = []
    planned = recipe.get("cells")  # cells of earlier plans (another learning rate, say) stay on disk and out of the report
    place = {name: number for number, name in enumerate(planned or ())}
    there = [entry for entry in folder.iterdir() if entry.is_dir() and (planned is None or entry.name in place)]
    for path in sorted(there, key=lambda entry: (place.get(entry.name, 0), entry.name)):
        result = read(path / "result.json")
        cell = _cell(path, result, recipe) if result else None
        if cell is None:
            unfinished.append(_unfinished(path))
        else:
            cells.append(cell)
    compared = tuple(_compared(cell, cells) for cell in cells)
    return Study(study_dir, str(recipe.get("name") or study_dir.resolve().name), recipe, compared, tuple(unfinished))


def read_outcomes(cell: Cell, benchmark: str) -> list[Outcome]:
    """The scored samples of one cell on one benchmark, in file order; empty where the file is missing."""
    written = {
        (str(row.get("task_id")), int(row.get("index") or 0)): row["completion"]
        for row in read_rows(cell.path / f"samples-{benchmark}.jsonl")
        if isinstance(row.get("completion"), str)
    }
    return [_outcome(row, written) for row in read_rows(cell.path / f"scores-{benchmark}.jsonl") if "task_id" in row]


def read_curve(cell: Cell) -> list[Json]:
    """The logged steps of training (docs/architecture.md has the fields); empty for a cell that trains nothing.

    A run that was killed and resumed may log a step twice: the last one stands.
    """
    steps = {int(row["step"]): row for row in read_rows(cell.path / "metrics.jsonl") if "step" in row}
    return [steps[step] for step in sorted(steps)]


def write_problems(study_dir: Path, benchmark: str, problems: Iterable[Problem]) -> None:
    """Keep what the report shows of each problem, so that it can be written without the data at hand."""
    rows = (
        {"task_id": p.task_id, "instruction": p.instruction or p.prompt, "reference": p.reference, "family": p.family} for p in problems
    )
    write_rows(study_dir / f"problems-{benchmark}.jsonl", rows)


def read_problems(study_dir: Path, benchmark: str) -> list[Problem]:
    """The problems that `write_problems` kept, in benchmark order; empty where there are none."""
    return [
        Problem(str(row["task_id"]), str(row["instruction"]), reference=str(row["reference"]), family=str(row.get("family") or ""))
        for row in read_rows(study_dir / f"problems-{benchmark}.jsonl")
        if {"task_id", "instruction", "reference"} <= row.keys()
    ]


def _cell(path: Path, result: Json, recipe: Json) -> Cell | None:
    name = result.get("cell")
    if not isinstance(name, dict) or not isinstance(result.get("benchmarks"), dict):
        return None
    train, price = result.get("train"), recipe.get("measures") or {}
    method = str(name.get("method", ""))
    return Cell(
        path=path,
        model=str(name.get("model", "")),
        method=method,
        row=str(name.get("row") or method),
        data=str(name.get("data", "")),
        seed=int(name.get("seed") or 0),
        train=_known(TrainSummary, train) if isinstance(train, dict) else None,
        benchmarks={key: _benchmark(value) for key, value in result["benchmarks"].items()},
        gates=tuple(_gate(gate) for gate in result.get("gates") or ()),
        peak_memory_bytes=result.get("peak_memory_bytes"),
        provenance=result.get("provenance") or {},
        config=read(path / "cell.json"),
        factors=name.get("factors") or {},
        tuned=bool(name.get("tuned")),
        brought=bool(name.get("brought")),
        measures=read_measures(result, price.get("price_per_hour"), str(price.get("currency") or "")),
        diagnosis=tuple(Diagnosis.read(row) for row in result.get("diagnosis") or ()),
        overlap=result.get("train_test_overlap") or {},
    )


def _compared(cell: Cell, cells: Iterable[Cell]) -> Cell:
    """With the gates that hold it against its base model's row, where there is one."""
    base = next((one for one in cells if one.row == BASE and one.model == cell.model and stands_beside(one, cell)), cell)
    if base is cell:
        return cell
    leads = {name: _lead(cell, base, name) for name in cell.benchmarks if name in base.benchmarks}
    gates = [better_than_base(name, lead) for name, lead in leads.items() if lead is not None]
    return dataclasses.replace(cell, gates=(*cell.gates, *gates))


def _lead(cell: Cell, base: Cell, benchmark: str) -> Lead | None:
    """How far a cell's score is above its base's, paired by problem where single problems are known to have passed or not."""
    own, its = cell.benchmarks[benchmark].score, base.benchmarks[benchmark].score
    if own is None or its is None:
        return None
    ours, theirs = (_passes(one, benchmark) if one.benchmarks[benchmark].pass_at_k else {} for one in (cell, base))
    common = [task_id for task_id in ours if task_id in theirs]
    if len(common) < 2:
        return Lead(own - its)
    found = paired_difference([ours[task_id] for task_id in common], [theirs[task_id] for task_id in common])
    return Lead(own - its, found.low, found.high)


def _passes(cell: Cell, benchmark: str) -> dict[str, float]:
    """By problem, the share of its samples that passed."""
    counts: dict[str, list[bool]] = {}
    for row in read_rows(cell.path / f"scores-{benchmark}.jsonl"):
        verdict = (row.get("result") or {}).get("verdict")
        if "task_id" in row and verdict:
            counts.setdefault(str(row["task_id"]), []).append(verdict == "passed")
    return {task_id: sum(passed) / len(passed) for task_id, passed in counts.items()}


def stands_beside(untrained: Cell, cell: Cell) -> bool:
    """Whether a row that trains nothing is of the same data as a cell, in whatever size that was trained on."""
    corpus = cell.factors.get("corpus")
    return untrained.data == cell.data or (corpus is not None and untrained.factors.get("corpus") == corpus)


def _benchmark(value: Json) -> BenchmarkSummary:
    summary = _known(BenchmarkSummary, {key: part for key, part in value.items() if part is not None} | with_parts(value))
    intervals = {k: (float(pair[0]), float(pair[1])) for k, pair in summary.pass_at_k_ci95.items()}
    return dataclasses.replace(summary, pass_at_k_ci95=intervals)


def _gate(row: Json) -> Gate:
    threshold = row.get("threshold")
    text = "" if threshold is None else str(threshold)
    return Gate(str(row["name"]), row["level"], row.get("value"), text, str(row.get("message") or ""))


def _outcome(row: Json, written: Mapping[tuple[str, int], str]) -> Outcome:
    result = row.get("result") or {}
    task_id, index, program = str(row["task_id"]), int(row.get("index") or 0), str(row.get("program") or "")
    numbers = {name: float(value) for name, value in (row.get("metrics") or {}).items() if isinstance(value, int | float)}
    return Outcome(
        task_id=task_id,
        index=index,
        completion=written.get((task_id, index), program),
        program=program,
        verdict=str(result.get("verdict") or ""),
        detail=str(result.get("detail") or ""),
        metrics=numbers,
    )


def _unfinished(path: Path) -> Unfinished:
    config = read(path / "cell.json")
    named = config.get("cell")
    name: Json = named if isinstance(named, dict) else config
    failed = read(path / FAILURE)
    label = " · ".join(str(name[part]) for part in ("row", "data", "seed") if isinstance(name.get(part), str | int))
    steps = [int(row["step"]) for row in read_rows(path / "metrics.jsonl") if "step" in row]
    if (path / "result.json").exists():
        state = "its result.json cannot be read"
    elif failed:
        state = f"cannot run: {failed.get('cause', '')}"
    elif any(path.glob("scores-*.jsonl")) or any(path.glob("samples-*.jsonl")):
        state = "trained, not yet evaluated in full" if steps else "not yet evaluated in full"
    else:
        state = f"stopped at training step {max(steps)}" if steps else "not started"
    return Unfinished(path.name, label or path.name, state)


def _known(record: type[Record], row: Json) -> Record:
    """A record from those keys of a row that it has."""
    names = {f.name for f in dataclasses.fields(record)}  # type: ignore[arg-type]
    return record(**{key: value for key, value in row.items() if key in names})
