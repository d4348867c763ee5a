"""The validity gates of all rows as one table, worst seed first, the messages of those that did not hold, and what explains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codetune.study.cell_evidence import Grade
from codetune.study.gates import DATA_GATES, GENERATION_GATES, QUALITY_GATES, TRAINING_GATES, Gate, Level
from codetune.study.summary import Block, Row

_SEVERITY: dict[str, int] = {"ok": 0, "warning": 1, "invalid": 2}
_SIGN: dict[str, str] = {"ok": "✓", "warning": "!", "invalid": "✗"}


@dataclass(frozen=True, slots=True)
class GateCell:
    """One gate of one row: the worst over its seeds. `text` is the value with a sign, readable without colour."""

    level: Level
    text: str
    message: str


@dataclass(frozen=True, slots=True)
class GateLine:
    title: str
    benchmark: str
    threshold: str
    cells: tuple[GateCell | None, ...]  # one per row; None where it was not measured


@dataclass(frozen=True, slots=True)
class GateMessage:
    label: str
    level: Level
    benchmark: str
    message: str
    threshold: str


@dataclass(frozen=True, slots=True)
class DiagnosisLine:
    """What the evidence of a row points to; `seeds` are those that it was found with, of the row's `all_seeds`."""

    label: str
    cause: str
    title: str
    grade: Grade
    evidence: str
    remedy: str
    seeds: tuple[int, ...]
    all_seeds: tuple[int, ...]


def diagnosis_lines(block: Block) -> list[DiagnosisLine]:
    """The causes that were found, row by row, each row's first cause first."""
    return [
        DiagnosisLine(row.label, found.cause, found.title, found.grade, found.evidence, found.remedy, seeds, row.seeds)
        for row in block.rows
        for found, seeds in row.diagnoses.items()
    ]


def gate_lines(block: Block) -> list[GateLine]:
    """Every gate that codetune knows, measured or not, and any other that the records hold."""
    found = {gate.name for row in block.rows for cell in row.cells for gate in cell.gates}
    of_benchmarks = (f"{benchmark}:{gate}" for benchmark in block.benchmarks for gate in (*DATA_GATES, *QUALITY_GATES))
    listed = [*TRAINING_GATES, *GENERATION_GATES, *of_benchmarks]
    return [_line(block, name) for name in [*listed, *sorted(found - set(listed))]]


def gate_messages(block: Block) -> list[GateMessage]:
    """What did not hold: invalid first, each message once per row."""
    messages = {
        GateMessage(row.label, gate.level, gate.benchmark, gate.message or gate.kind, gate.threshold): None
        for row in block.rows
        for cell in row.cells
        for gate in cell.gates
        if gate.level != "ok"
    }
    return sorted(messages, key=lambda message: -_SEVERITY[message.level])


def gates_summary(block: Block) -> str:
    """How many gates were measured, and how many held."""
    gates = [gate for row in block.rows for cell in row.cells for gate in cell.gates]
    invalid = sum(1 for row in block.rows if row.invalid_cause)
    warnings = sum(gate.level == "warning" for gate in gates)
    rows = "no row is invalid" if not invalid else f"{invalid} of {len(block.rows)} rows are invalid"
    scores = sum(bool(row.invalid_on(benchmark)) for row in block.rows if not row.invalid_cause for benchmark in block.benchmarks)
    if scores:
        rows += f", {scores} score{'' if scores == 1 else 's'} of valid rows {'is' if scores == 1 else 'are'}"
    return f"{len(gates)} checks were made on {len(block.rows)} rows: {rows}, {warnings} warning{'' if warnings == 1 else 's'}."


def _line(block: Block, name: str) -> GateLine:
    benchmark, _, kind = name.rpartition(":")
    worst = [_worst(row, name) for row in block.rows]
    threshold = next((gate.threshold for gate in worst if gate), "")
    title = {**TRAINING_GATES, **GENERATION_GATES, **DATA_GATES, **QUALITY_GATES}.get(kind, kind.replace("_", " "))
    return GateLine(title, benchmark, threshold, tuple(None if gate is None else _cell(gate) for gate in worst))


def _worst(row: Row, name: str) -> Gate | None:
    gates: Sequence[Gate] = [gate for cell in row.cells for gate in cell.gates if gate.name == name]
    return max(gates, key=lambda gate: _SEVERITY[gate.level], default=None)


def _cell(gate: Gate) -> GateCell:
    value = "" if gate.value is None else f" {gate.value:.3g}"
    return GateCell(gate.level, f"{_SIGN[gate.level]}{value}", gate.message)
