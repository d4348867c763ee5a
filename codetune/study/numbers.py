"""Every number of a study in long form, one per line: `numbers.csv` and `numbers.parquet`, for whatever reads tables."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.runs import write_atomically
from codetune.study.cells import Cell
from codetune.study.measures import numbers as measured
from codetune.study.summary import Block, Row

MEAN = "mean"  # in the place of a seed: over the seeds of a row
NO_PARQUET = "numbers.parquet was not written, for pyarrow is missing: pip install pyarrow"
_UNITS = (
    ("_bytes", "bytes"), ("seconds_per_", "s"), ("_per_s", "1/s"), ("seconds", "s"), ("_share", "share"), ("joules", "J"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Number:
    """One value. `seed` is a training seed or "mean"; `cause` says why a number is not `valid`, or what must be known of one that is."""

    model: str
    row: str
    data: str
    seed: str
    benchmark: str
    metric: str
    value: float
    low: float | None
    high: float | None
    unit: str
    valid: bool
    cause: str


def numbers(blocks: Iterable[Block]) -> list[Number]:
    """Of every row, each seed by itself and their mean: scores with 95% intervals, verdicts, costs, measures, gates."""
    return [number for block in blocks for row in block.rows for number in _of_row(block, row)]


def write_numbers(folder: Path, blocks: Sequence[Block]) -> tuple[tuple[Path, ...], str]:
    """`numbers.csv` and, where pyarrow is there, `numbers.parquet`; the files, and a line on what is missing (or "")."""
    found = numbers(blocks)
    paths = (folder / "numbers.csv", folder / "numbers.parquet")
    write_atomically(paths[0], lambda file: file.write(_csv(found)))
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        paths[1].unlink(missing_ok=True)  # of an earlier report, with other numbers
        return paths[:1], NO_PARQUET
    kinds = {"value": pa.float64(), "low": pa.float64(), "high": pa.float64(), "valid": pa.bool_()}
    schema = pa.schema([(field.name, kinds.get(field.name, pa.string())) for field in dataclasses.fields(Number)])
    columns = {name: [_writable(getattr(number, name)) for number in found] for name in schema.names}
    write_atomically(paths[1], lambda file: pq.write_table(pa.table(columns, schema=schema), file))
    return paths, ""


def _of_row(block: Block, row: Row) -> Iterator[Number]:
    by_seed = {str(cell.seed): dict(_of_cell(cell)) for cell in row.cells}
    for seed, found in by_seed.items():
        for (benchmark, metric), (value, low, high) in found.items():
            yield _number(block, row, seed, (benchmark, metric), (value, low, high))
    for name, spread in block.measured(row).items():
        yield _number(block, row, MEAN, ("", f"measures.{name}"), (spread.mean, None, None))
    for key in dict.fromkeys(key for found in by_seed.values() for key in found):
        benchmark, metric = key
        if metric.startswith("measures."):
            continue  # with those that need other rows, above
        measure = row.measures.get(f"{benchmark}:{metric}")
        mean = statistics.fmean(found[key][0] for found in by_seed.values() if key in found)
        interval = (measure.low, measure.high) if measure else (None, None)
        yield _number(block, row, MEAN, key, (measure.mean if measure else mean, *interval))


_Value = tuple[float, float | None, float | None]


def _of_cell(cell: Cell) -> Iterator[tuple[tuple[str, str], _Value]]:
    """((benchmark, metric), (value, low, high)) of one cell."""
    for name, summary in cell.benchmarks.items():
        for k, value in summary.pass_at_k.items():
            yield (name, f"pass@{k}"), (value, *(summary.pass_at_k_ci95.get(k) or (None, None)))
        numeric: dict[str, Any] = {**summary.metrics, "num_problems": summary.num_problems, "num_samples": summary.num_samples}
        numeric |= {f"verdict.{verdict}": count for verdict, count in summary.verdicts.items()}
        yield from (((name, metric), (value, None, None)) for metric, value in _leaves(numeric))
        yield from (((name, f"generation.{metric}"), (value, None, None)) for metric, value in _leaves(summary.generation))
    if cell.train is not None:
        yield from ((("", f"train.{metric}"), (value, None, None)) for metric, value in _leaves(dataclasses.asdict(cell.train)))
    if cell.peak_memory_bytes is not None:
        yield ("", "peak_memory_bytes"), (float(cell.peak_memory_bytes), None, None)
    yield from ((("", f"measures.{name}"), (value, None, None)) for name, value in measured(cell.measures).items())
    for gate in cell.gates:
        if gate.value is not None:
            yield (gate.benchmark, f"gate.{gate.kind}"), (float(gate.value), None, None)


def _leaves(tree: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    """Every finite number of nested settings, its name the way to it, joined by dots."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{before}{name}", float(value)


def _number(block: Block, row: Row, seed: str, key: tuple[str, str], value: _Value) -> Number:
    benchmark, metric = key
    cause = row.invalid_on(benchmark)
    unit = "share" if metric.startswith("pass@") else next((unit for ending, unit in _UNITS if ending in metric), "")
    said = cause or (row.mark_on(benchmark) if benchmark else "")
    return Number(block.model, row.label, block.data, seed, benchmark, metric, *value, unit, not cause, said)


def _csv(found: Sequence[Number]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in dataclasses.fields(Number))
    writer.writerows(_line(number) for number in found)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _line(number: Number) -> list[object]:
    values = (getattr(number, field.name) for field in dataclasses.fields(Number))
    return ["" if value is None else str(value).lower() if isinstance(value, bool) else value for value in values]


def _writable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
