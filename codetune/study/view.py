"""What one block of the report shows, as plain records that both templates (HTML and Markdown) read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codetune.records import Verdict
from codetune.study.differences import Difference
from codetune.study.summary import Block, Measure, Row
from codetune.study.tables import (
    MISSING,
    format_bytes,
    format_percent,
    format_points,
    format_rate,
    format_score,
    format_seconds,
    format_small_percent,
)
from codetune.study.votes import Judgement, preference_sentences
from codetune.study.words import interval_text, metric_name, paired_detail, told_apart

MARK = "†overlap"  # beside a number whose test is in the training data, where the recipe publishes it anyway


@dataclass(frozen=True, slots=True)
class RowName:
    """A row as it is named everywhere; `color` is a CSS variable. The name of a row that is not valid is struck out."""

    label: str
    color: str
    valid: bool = True


@dataclass(frozen=True, slots=True)
class MetricLine:
    row: RowName
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricTable:
    title: str
    columns: tuple[str, ...]
    lines: tuple[MetricLine, ...]


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A difference in words and as a mark on an axis; positions are percent of the axis."""

    row: RowName
    label: str
    text: str
    interval: str
    words: str
    detail: str
    distinct: bool
    middle: float
    left: float
    width: float | None


@dataclass(frozen=True, slots=True)
class DifferencePanel:
    title: str
    zero: float
    lines: tuple[DifferenceLine, ...]


@dataclass(frozen=True, slots=True)
class VerdictPart:
    verdict: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class VerdictLine:
    row: RowName
    parts: tuple[VerdictPart, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class VerdictTable:
    title: str
    shown: tuple[str, ...]
    lines: tuple[VerdictLine, ...]


@dataclass(frozen=True, slots=True)
class FamilyLine:
    """`shares` are whole percents, one per row of the table."""

    family: str
    count: int
    shares: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class FamilyTable:
    title: str
    rows: tuple[RowName, ...]
    lines: tuple[FamilyLine, ...]


@dataclass(frozen=True, slots=True)
class JudgementLine:
    """One question: votes for either row and for neither, and the share of decided votes for the first with its interval."""

    question: str
    first: int
    same: int
    second: int
    rate: str
    interval: str
    words: str


@dataclass(frozen=True, slots=True)
class JudgementView:
    """One blind sheet beside what the metrics say of its two rows."""

    title: str
    first: RowName
    second: RowName
    judges: str
    lines: tuple[JudgementLine, ...]
    metrics: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    label: str
    value: str
    note: str
    unit: str = ""


@dataclass(frozen=True)
class Names:
    """How rows are named and coloured in one block of a report."""

    colors: Mapping[str, str]  # row -> CSS variable
    invalid: frozenset[str] = frozenset()

    def of(self, label: str) -> RowName:
        return RowName(label, self.colors[label], label not in self.invalid)

    def on(self, row: Row, benchmark: str) -> RowName:
        """The row as one that has numbers on a benchmark: struck out where these do not stand, marked where they overlap."""
        return RowName(row.label + (f" {MARK}" if row.mark_on(benchmark) else ""), self.colors[row.label], not row.invalid_on(benchmark))


def metric_tables(block: Block, names: Names) -> list[MetricTable]:
    """Every metric of every benchmark, with intervals where there are any."""
    tables = []
    for benchmark in block.benchmarks:
        keys = dict.fromkeys(key for row in block.rows for key in row.measures if key.startswith(f"{benchmark}:"))
        lines = tuple(
            MetricLine(names.on(row, benchmark), tuple(_standing(row, benchmark, key) for key in keys)) for row in block.rows
        )
        columns = tuple(metric_name(key.removeprefix(f"{benchmark}:")) for key in keys)
        tables.append(MetricTable(f"{benchmark}, 0 to 100", columns, lines))
    return tables


def difference_panel(block: Block, names: Names, benchmark: str) -> DifferencePanel:
    """Every row against the base model, and the best row against the next."""
    pairs = differences(block, benchmark)
    ends = [end for d in pairs for end in (d.mean, d.low, d.high) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = (high - low) or 1.0
    low, span = low - 0.06 * span, 1.12 * span

    def at(value: float) -> float:
        return round(100 * (value - low) / span, 2)

    lines = []
    for d in pairs:
        label = d.row if block.base and d.other == block.base.label else f"{d.row} − {d.other}"
        bar = (at(d.low), round(at(d.high) - at(d.low), 2)) if d.low is not None and d.high is not None else (0.0, None)
        text, interval = f"{format_points(d.mean)}", interval_text(d.low, d.high)
        lines.append(DifferenceLine(names.of(d.row), label, text, interval, told_apart(d), paired_detail(d), d.distinct, at(d.mean), *bar))
    what = metric_name(block.score_name(benchmark))
    base = f"minus {block.base.label}, " if block.base else ""
    return DifferencePanel(f"{benchmark}: {what} {base}points", at(0.0), tuple(lines))


def differences(block: Block, benchmark: str) -> list[Difference]:
    """Each valid row minus the base row, then best minus next, where they differ from those."""
    base = block.base
    ranked = block.ranked(benchmark)
    pairs = [(row, base) for row in block.rows if base is not None and row is not base and row in ranked and base in ranked]
    if (len(ranked) > 1 and base not in ranked[:2]) or (len(ranked) > 1 and ranked[0] is base):
        pairs.append((ranked[0], ranked[1]))
    found = [block.difference(row, other, benchmark) for row, other in pairs if other is not None]
    return [difference for difference in found if difference is not None]


def verdict_tables(block: Block, names: Names) -> list[VerdictTable]:
    """How the programs of each row ended, for benchmarks that run programs; counts over seeds."""
    tables = []
    for benchmark in filter(block.executes, block.benchmarks):
        counted = [(row, _verdicts(row, benchmark)) for row in block.rows]
        shown = tuple(v.value for v in Verdict if any(counts[v.value] for _, counts in counted))
        lines = []
        for row, counts in counted:
            total = max(1, counts.total())
            parts = tuple(VerdictPart(v, counts[v], counts[v] / total) for v in shown if counts[v])
            lines.append(VerdictLine(names.on(row, benchmark), parts, tuple(counts[v] for v in shown)))
        tables.append(VerdictTable(benchmark, shown, tuple(lines)))
    return tables


def family_tables(block: Block, names: Names) -> list[FamilyTable]:
    """Pass rate by family of problems, where families are known and say more than single problems do."""
    tables = []
    for benchmark in filter(block.executes, block.benchmarks):
        family_of = {problem.task_id: problem.family for problem in block.problems.get(benchmark, ()) if problem.family}
        families = Counter(family_of.values())
        if 2 <= len(families) <= len(family_of) / 2:
            lines = [FamilyLine(name, count, _family_shares(block, benchmark, name, family_of)) for name, count in families.items()]
            lines.sort(key=lambda line: (-_spread(line.shares), line.family))
            tables.append(FamilyTable(benchmark, tuple(names.on(row, benchmark) for row in block.rows), tuple(lines)))
    return tables


def judgement_view(block: Block, names: Names, judgement: Judgement) -> JudgementView:
    """What people said of two rows, and the metrics of the same two on the same benchmark."""
    lines = []
    for one in judgement.preferences:
        interval = interval_text(one.low, one.high)
        apart = one.low is not None and one.high is not None and not one.low <= 0.5 <= one.high
        said = "no decided vote" if one.rate is None else "told apart" if apart else "not told apart"
        lines.append(JudgementLine(one.question, one.first, one.same, one.second, format_percent(one.rate), interval, said))
    labels = [row.label for row in block.rows]
    shown = [names.of(label) if label in labels else RowName(label, "--muted") for label in judgement.rows]
    metrics = []
    for metric in dict.fromkeys((block.score_name(judgement.benchmark), "bleu", "codebleu")):
        key = f"{judgement.benchmark}:{metric}"
        both = (row for row in block.rows if row.label in judgement.rows and key in row.measures)
        values = [f"{row.label} {_with_interval(row.measures[key])}" for row in both]
        metrics += [f"{metric_name(metric)}: {', '.join(values)}"] if values else []
    judges = f"{len(judgement.judges)} judge{'' if len(judgement.judges) == 1 else 's'}"
    sentences = tuple(preference_sentences(judgement)[len(judgement.preferences) :])
    return JudgementView(judgement.title, shown[0], shown[1], judges, tuple(lines), tuple(metrics), sentences)


def tiles(block: Block) -> list[Tile]:
    """The few figures one looks for first."""
    if not block.benchmarks or not (ranked := block.ranked(block.benchmarks[0])):
        return []
    benchmark, best, base = block.benchmarks[0], ranked[0], block.base
    score = block.score(best, benchmark)
    assert score is not None  # ranked rows have one
    unit = "%" if block.executes(benchmark) else ""
    interval = interval_text(score.low, score.high)
    mark = f" {MARK}" if best.mark_on(benchmark) else ""
    name = metric_name(block.score_name(benchmark))
    note = f"95% interval {interval}" if interval else ""
    found = [Tile(f"{best.label}, {name} on {benchmark}{mark}", format_score(score.mean), note, unit)]
    if base is not None and base is not best and (d := block.difference(best, base, benchmark)):
        paired = interval_text(d.low, d.high)
        found.append(Tile(f"over {base.label}", format_points(d.mean), f"paired interval {paired}" if paired else "", "points"))
    if best.train_seconds is not None:
        found.append(Tile("training time", format_seconds(best.train_seconds), f"{format_rate(best.tokens_per_s)} tokens/s"))
        size = f"{format_bytes(best.adapter_bytes)} to keep" if best.adapter_bytes else ""
        found.append(Tile("parameters trained", format_small_percent(best.trainable_share), size))
    return found


def _standing(row: Row, benchmark: str, key: str) -> str:
    """A metric with its interval; what says nothing of a row whose other numbers stand is marked."""
    text = _with_interval(row.measures.get(key))
    lost = row.struck_on(benchmark, key.removeprefix(f"{benchmark}:")) and not row.invalid_on(benchmark)
    return f"✗ {text}" if lost and text != MISSING else text


def _with_interval(measure: Measure | None) -> str:
    if measure is None:
        return MISSING
    interval = interval_text(measure.low, measure.high)
    return f"{format_score(measure.mean)} ({interval})" if interval else format_score(measure.mean)


def _verdicts(row: Row, benchmark: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for cell in row.cells:
        if benchmark in cell.benchmarks:
            counts.update(cell.benchmarks[benchmark].verdicts)
    return counts


def _family_shares(block: Block, benchmark: str, family: str, family_of: dict[str, str]) -> tuple[int | None, ...]:
    shares: list[int | None] = []
    for row in block.rows:
        by_seed = block.outcomes.get((row.label, benchmark), {})
        verdicts = [o.verdict for found in by_seed.values() for o in found if family_of.get(o.task_id) == family]
        shares.append(round(100 * verdicts.count("passed") / len(verdicts)) if verdicts else None)
    return tuple(shares)


def _spread(shares: Sequence[int | None]) -> int:
    present = [share for share in shares if share is not None]
    return max(present) - min(present) if present else 0
