"""Method against quality and cost: the table of one block, and the same over all models at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from codetune.study.summary import PASS, TEXT_SCORE, Block, Measure, Row
from codetune.study.tables import MISSING, format_bytes, format_rate, format_score, format_seconds, format_small_percent
from codetune.study.words import interval_text, metric_name

TEXT_COLUMNS = ("bleu", "codebleu", "rouge_l", "syntax_valid")
CODE_MARK = "‡code"  # beside a row whose model was pre-trained on code, where nothing can be shaded


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """A small bar on a scale of 0 to 100, with the interval's lower end and width."""

    value: float
    low: float
    width: float


@dataclass(frozen=True, slots=True)
class TableCell:
    """One number: `note` is its interval, `sort` what it is sorted by ("" sorts last).

    A number that is not `valid` is struck out; `mark` is what must be known of one that is shown anyway.
    """

    text: str
    note: str = ""
    best: bool = False
    second: bool = False
    sort: str = ""
    bar: IntervalBar | None = None
    valid: bool = True
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ColumnGroup:
    label: str
    span: int


@dataclass(frozen=True, slots=True)
class TableRow:
    """`code`: its model was pre-trained on code, which the table shades."""

    label: str
    color: str
    valid: bool
    invalid_cause: str
    warnings: str
    code: bool
    cells: tuple[TableCell, ...]


@dataclass(frozen=True, slots=True)
class TablePart:
    """The rows of one model x data, which are compared with one another; `title` is "" where there is but one part."""

    anchor: str
    title: str
    pretrained_on: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True, slots=True)
class MainTable:
    groups: tuple[ColumnGroup, ...]
    columns: tuple[Column, ...]
    parts: tuple[TablePart, ...]
    marks: tuple[str, ...]  # what the marked numbers are marked for

    @property
    def rows(self) -> tuple[TableRow, ...]:
        return tuple(row for part in self.parts for row in part.rows)


@dataclass(frozen=True, slots=True)
class _Measured:
    """A column before it is written; `better`: whether a larger value is better (else neither end is)."""

    group: str
    column: Column
    value: Callable[[Row], Measure | None]
    write: Callable[[float | None], str]
    better: bool = False
    bar: bool = False
    benchmark: str = ""  # whose numbers these are; "" for costs


def main_table(blocks: Sequence[Block], anchors: Sequence[str], colors: Mapping[str, str]) -> MainTable:
    """All rows of the blocks; the best and the second best valid value of each quality column are marked within each block."""
    columns = _columns(blocks)
    groups: dict[str, int] = {}
    for column in columns:
        groups[column.group] = groups.get(column.group, 0) + 1
    parts = []
    for block, anchor in zip(blocks, anchors, strict=True):
        title = f"{block.model} on {block.data}" if len(blocks) > 1 else ""
        parts.append(TablePart(anchor, title, block.pretrained_on, _rows(block, columns, colors)))
    return MainTable(
        tuple(ColumnGroup(label, span) for label, span in groups.items()),
        tuple(column.column for column in columns),
        tuple(parts),
        tuple(mark for block in blocks for mark in _marks(block, len(blocks) > 1)),
    )


def _columns(blocks: Sequence[Block]) -> list[_Measured]:
    names = list(dict.fromkeys(name for block in blocks for name in block.benchmarks))
    executed = [name for name in names if any(block.executes(name) for block in blocks)]
    columns = [_score("tests passed", name, PASS, name, "pass@1, %", bar=True) for name in executed]
    text_on = next((name for name in [*executed, *names]), "")
    columns += [
        _score(f"text, on {text_on}", text_on, metric, metric_name(metric), "%" if metric == "syntax_valid" else "")
        for metric in TEXT_COLUMNS
    ]
    others = [name for name in names if name not in (*executed, text_on)]
    columns += [_score("text", name, TEXT_SCORE, name, metric_name(TEXT_SCORE)) for name in others]
    return [*columns, *_costs()]


def _score(group: str, benchmark: str, metric: str, label: str, unit: str, bar: bool = False) -> _Measured:
    key = f"{benchmark}:{metric}"
    return _Measured(group, Column(label, unit), lambda row: row.measures.get(key), format_score, better=True, bar=bar, benchmark=benchmark)


def _costs() -> list[_Measured]:
    def column(label: str, unit: str, value: Callable[[Row], float | None], write: Callable[[float | None], str]) -> _Measured:
        def measured(row: Row) -> Measure | None:
            found = value(row)
            return None if found is None else Measure(found)

        return _Measured("cost", Column(label, unit), measured, write)

    return [
        column("trained", "of parameters", lambda row: row.trainable_share, format_small_percent),
        column("memory", "peak", lambda row: row.peak_memory_bytes, format_bytes),
        column("time", "training", lambda row: row.train_seconds, format_seconds),
        column("tokens/s", "training", lambda row: row.tokens_per_s, format_rate),
        column("adapter", "size", lambda row: row.adapter_bytes, format_bytes),
    ]


def _rows(block: Block, columns: Sequence[_Measured], colors: Mapping[str, str]) -> tuple[TableRow, ...]:
    written = [_cells(block, column) for column in columns]
    rows = []
    for number, row in enumerate(block.rows):
        causes = [row.invalid_cause] if row.invalid_cause else [f"{on}: {why}" for on in block.benchmarks if (why := row.invalid_on(on))]
        cells = tuple(column[number] for column in written)
        valid, code = not row.invalid_cause, block.pretrained_on in ("code", "both")
        rows.append(TableRow(row.label, colors[row.label], valid, "; ".join(causes), "; ".join(row.warnings), code, cells))
    return tuple(rows)


def _cells(block: Block, column: _Measured) -> list[TableCell]:
    """One column over the rows of a block, what is best in it marked."""
    on = column.benchmark
    values = [column.value(row) for row in block.rows]
    standing = {value.mean for value, row in zip(values, block.rows, strict=True) if value is not None and not row.invalid_on(on)}
    ranks = sorted(standing, reverse=True) if column.better else []
    cells = []
    for row, measure in zip(block.rows, values, strict=True):
        if measure is None:
            cells.append(TableCell(MISSING))
            continue
        stands = not row.invalid_on(on)
        best = stands and len(ranks) > 1 and measure.mean == ranks[0]
        second = stands and len(ranks) > 2 and measure.mean == ranks[1]  # of two different values the lower is no second best
        interval = interval_text(measure.low, measure.high)
        bar = _bar(measure) if column.bar else None
        cells.append(TableCell(column.write(measure.mean), interval, best, second, repr(measure.mean), bar, stands, row.mark_on(on)))
    return cells


def _bar(measure: Measure) -> IntervalBar | None:
    if measure.low is None or measure.high is None:
        return None
    return IntervalBar(round(100 * measure.mean, 2), round(100 * measure.low, 2), round(100 * (measure.high - measure.low), 2))


def _marks(block: Block, named: bool) -> list[str]:
    before = f"{block.model} on {block.data}, " if named else ""
    return [f"{before}{row.label} on {name}: {mark}" for row in block.rows for name in block.benchmarks if (mark := row.mark_on(name))]
