"""What a block's rows were measured for besides scores, as tables: a line for each measure, a column for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codetune.study.measures import Spread
from codetune.study.summary import Block
from codetune.study.tables import MISSING, format_bytes, format_percent, format_score, format_seconds
from codetune.study.view import Names, RowName

_GROUPS = (
    ("Held-out loss", ("held_out_",)),
    ("What the base model could do: forgetting", ("forgetting:",)),
    ("Asked in other words", ("rephrased:",)),
    ("Memory, forecast by what it is for", ("memory_forecast_bytes:",)),
    ("Memory, measured", ("memory_peak_bytes:",)),
    ("Speed and time to quality", ("operations_per_token", "matrix_", "time_to_", "evaluation_s")),
    ("Latency, with the adapter and merged", ("latency_", "merged_latency_")),
    ("Energy and money", ("training_energy", "generation_energy", "energy_j", "cost")),
)


@dataclass(frozen=True, slots=True)
class MeasureValue:
    """`range`: lowest to highest over the seeds, where they differ."""

    text: str
    range: str = ""


@dataclass(frozen=True, slots=True)
class MeasureLine:
    name: str
    values: tuple[MeasureValue, ...]  # one per row of the block


@dataclass(frozen=True, slots=True)
class MeasureTable:
    title: str
    rows: tuple[RowName, ...]
    lines: tuple[MeasureLine, ...]


def measure_tables(block: Block, names: Names) -> list[MeasureTable]:
    """By subject, what was measured; a measure that no row has is left out."""
    measured = [block.measured(row) for row in block.rows]
    found = dict.fromkeys(name for row in measured for name in row)
    rows = tuple(names.of(row.label) for row in block.rows)
    tables, placed = [], set()
    for title, beginnings in _GROUPS:
        own = [name for name in found if name.startswith(beginnings)]
        placed.update(own)
        if own:
            cut = beginnings[0] if len(beginnings) == 1 and beginnings[0].endswith(":") else ""
            tables.append(MeasureTable(title, rows, tuple(_line(name, name.removeprefix(cut), measured) for name in own)))
    if others := [name for name in found if name not in placed]:
        tables.append(MeasureTable("Others", rows, tuple(_line(name, name, measured) for name in others)))
    return tables


def _line(name: str, shown: str, measured: Sequence[Mapping[str, Spread]]) -> MeasureLine:
    write = _writer(name)
    return MeasureLine(shown.replace("_", " ").replace(":", ", "), tuple(_value(row.get(name), write) for row in measured))


def _value(spread: Spread | None, write: Callable[[float], str]) -> MeasureValue:
    if spread is None:
        return MeasureValue(MISSING)
    low, high = write(spread.low), write(spread.high)
    return MeasureValue(write(spread.mean), f"{low} to {high}" if low != high else "")


def _writer(name: str) -> Callable[[float], str]:
    last = name.rpartition(":")[2].removesuffix("_change")
    if "_bytes:" in name or last.endswith("_bytes"):
        return format_bytes
    if last.endswith("_share"):
        return format_percent
    if name.startswith(("forgetting:", "rephrased:")) and last.endswith("score"):
        return _signed(format_score) if name.endswith("_change") else format_score
    if last.endswith(("_s", "_s_per_token", "_p90")) and not last.endswith("per_s"):
        return _time
    if name.endswith("_change"):
        return _signed(_plain)
    return _plain


def _time(seconds: float) -> str:
    """Latencies are of milliseconds."""
    return f"{1000 * seconds:.3g} ms" if abs(seconds) < 1 else format_seconds(seconds)


def _plain(value: float) -> str:
    """Four digits, whole numbers in full up to a million.

    >>> _plain(1.23456), _plain(4096.0), _plain(3.2e9)
    ('1.235', '4,096', '3.2e+09')
    """
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _signed(write: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: f"{'+' if value > 0 else ''}{write(value)}".replace("-", "−")
