"""From cells to what is compared: rows over seeds with intervals, and paired differences between rows.

A row is one model x method x data over its training seeds. With one seed an interval covers which problems were asked; with
several it covers problems and seeds.
"""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from codetune.records import Json, Problem, to_json
from codetune.study.cell_evidence import Diagnosis
from codetune.study.cells import (
    BASE,
    FEW_SHOT,
    TUNED,
    BenchmarkSummary,
    Cell,
    Outcome,
    Study,
    read_curve,
    read_outcomes,
    stands_beside,
)
from codetune.study.differences import Difference, corrected
from codetune.study.gates import CODEBLEU_GATE, OVERLAP, Gate, Level
from codetune.study.intervals import Kind, Scored, bleu_interval, mean_interval, paired_gap, table_of
from codetune.study.measures import Spread, changes, first_at, spreads

ROW_ORDER = (BASE, FEW_SHOT, "full", "lora", "prefix_tuning", "prompt_tuning")
PASS = "pass@1"
STRUCK_METRICS = ("codebleu", "codebleu_lexed")  # where CodeBLEU is high and BLEU near 0
TEXT_SCORE = "bleu"  # what is compared where nothing is executed


@dataclass(frozen=True, slots=True)
class Measure:
    """A mean over seeds with its 95% interval, where the records permit one."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of the tables: the finished cells of one model x method x data, one per training seed."""

    label: str
    cells: tuple[Cell, ...]
    measures: Mapping[str, Measure]  # "basics-known:pass@1" -> mean and interval, in 0..1
    scored: Mapping[str, Scored]  # benchmark -> its samples as tables

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(cell.seed for cell in self.cells)

    @property
    def is_base(self) -> bool:
        """Whether the model was left as it is; such rows are what the others are compared with."""
        return all(cell.train is None and not cell.brought for cell in self.cells)

    @property
    def invalid_cause(self) -> str:
        """Why none of the row's numbers stands; empty where they do."""
        return self.invalid_on("")

    def invalid_on(self, benchmark: str) -> str:
        """Why the row's numbers on a benchmark do not stand: what makes the whole row invalid, or these."""
        return self._messages("invalid", lambda gate: gate.benchmark in ("", benchmark))

    def mark_on(self, benchmark: str) -> str:
        """What must be said beside the row's numbers on a benchmark: that the training data overlaps it, where that is published anyway."""
        return self._messages("warning", lambda gate: gate.name == f"{benchmark}:{OVERLAP}")

    def codebleu_struck(self, benchmark: str) -> str:
        """Why the row's CodeBLEU on a benchmark says nothing, "" where it does: it is high where BLEU is near 0."""
        return self._messages("warning", lambda gate: gate.name == f"{benchmark}:{CODEBLEU_GATE}")

    def struck_on(self, benchmark: str, metric: str) -> str:
        """Why one number of the row does not stand: since none on the benchmark does, or this metric says nothing there."""
        return self.invalid_on(benchmark) or (self.codebleu_struck(benchmark) if metric in STRUCK_METRICS else "")

    def _messages(self, level: Level, wanted: Callable[[Gate], bool]) -> str:
        found = [gate.message or gate.name for cell in self.cells for gate in cell.gates if gate.level == level and wanted(gate)]
        return "; ".join(dict.fromkeys(found))

    @property
    def diagnoses(self) -> Mapping[Diagnosis, tuple[int, ...]]:
        """What the evidence of its cells points to, each with the seeds that it was found with."""
        found: dict[Diagnosis, tuple[int, ...]] = {}
        for cell in self.cells:
            for each in cell.diagnosis:
                found[each] = (*found.get(each, ()), cell.seed)
        return found

    @property
    def warnings(self) -> tuple[str, ...]:
        messages = [gate.message or gate.name for cell in self.cells for gate in cell.gates if gate.level == "warning"]
        return tuple(dict.fromkeys(messages))

    @property
    def trainable_share(self) -> float | None:
        return self._mean_of(cell.train.trainable_share for cell in self.cells if cell.train)

    @property
    def train_seconds(self) -> float | None:
        return self._mean_of(cell.train.seconds for cell in self.cells if cell.train)

    @property
    def tokens_per_s(self) -> float | None:
        return self._mean_of(cell.train.tokens_per_s for cell in self.cells if cell.train)

    @property
    def adapter_bytes(self) -> float | None:
        return self._mean_of(cell.train.adapter_bytes for cell in self.cells if cell.train)

    @cached_property
    def measured(self) -> dict[str, Spread]:
        """What docs/measures.md has besides scores, over the row's seeds."""
        return spreads(cell.measures for cell in self.cells)

    @property
    def peak_memory_bytes(self) -> float | None:
        """The largest over seeds: of training where that was measured, else of the whole cell."""
        peaks = [(cell.train.peak_memory_bytes if cell.train else None) or cell.peak_memory_bytes for cell in self.cells]
        return max((peak for peak in peaks if peak is not None), default=None)

    def _mean_of(self, values: Iterable[float | None]) -> float | None:
        present = [value for value in values if value is not None]
        return stdlib_statistics.fmean(present) if present else None


@dataclass(frozen=True, eq=False)  # one is itself: what was found of it is kept
class Block:
    """All rows of one model x data, and how they compare."""

    model: str
    data: str
    rows: tuple[Row, ...]
    outcomes: Mapping[tuple[str, str], Mapping[int, Sequence[Outcome]]]  # (row, benchmark) -> seed -> scored samples
    problems: Mapping[str, Sequence[Problem]]  # benchmark -> what was asked, where it is known

    @cached_property
    def benchmarks(self) -> tuple[str, ...]:
        """In the order of the records; those that execute programs come first."""
        names = list(dict.fromkeys(name for row in self.rows for cell in row.cells for name in cell.benchmarks))
        return tuple(sorted(names, key=lambda name: not self.executes(name)))

    def valid_rows(self, benchmark: str) -> tuple[Row, ...]:
        """The rows whose numbers on a benchmark stand."""
        return tuple(row for row in self.rows if not row.invalid_on(benchmark))

    def executes(self, benchmark: str) -> bool:
        return any(cell.benchmarks[benchmark].pass_at_k for row in self.rows for cell in row.cells if benchmark in cell.benchmarks)

    @cached_property
    def common_loss(self) -> float | None:
        """The validation loss that every valid trained cell reached: the best one of the cell that came the least far."""
        trained = [cell.train.best_val_loss for row in self.rows if not row.invalid_cause for cell in row.cells if cell.train]
        return max((loss for loss in trained if loss is not None), default=None)

    def to_common_loss(self, row: Row) -> tuple[float | None, float | None]:
        """Seconds of training, and tokens, after which a row's validation loss first was as low; means over seeds."""
        if self.common_loss is None or row.invalid_cause:
            return None, None
        reached = [first_at(read_curve(cell), self.common_loss) for cell in row.cells if cell.train]
        found = [each for each in reached if each is not None]
        if not found or len(found) < len(reached):
            return None, None
        seconds = [each.seconds for each in found if each.seconds is not None]
        return stdlib_statistics.fmean(seconds) if seconds else None, stdlib_statistics.fmean(each.tokens for each in found)

    def measured(self, row: Row) -> dict[str, Spread]:
        """A row's measures, with those that need the others: change against base, time to the loss that all reached."""
        found = dict(row.measured)
        if self.base is not None and row is not self.base:
            found |= changes(row.measured, self.base.measured)
        seconds, tokens = self.to_common_loss(row)
        more = {"time_to_common_loss_s": seconds, "time_to_common_loss_tokens": tokens}
        return found | {name: Spread(value, value, value) for name, value in more.items() if value is not None}

    def score_name(self, benchmark: str) -> str:
        """The metric that decides on a benchmark."""
        return PASS if self.executes(benchmark) else TEXT_SCORE

    def score(self, row: Row, benchmark: str) -> Measure | None:
        return row.measures.get(f"{benchmark}:{self.score_name(benchmark)}")

    @property
    def pretrained_on(self) -> str:
        """What the model's family had read, as the recipe says: text, code, both, or "" where it says nothing."""
        return next((str(found) for row in self.rows for cell in row.cells if (found := cell.factors.get("pretrained_on"))), "")

    @property
    def base(self) -> Row | None:
        """The untuned model, with nothing but the problem in its prompt."""
        return next((row for row in self.rows if row.label == BASE), next((row for row in self.rows if row.is_base), None))

    def ranked(self, benchmark: str) -> list[Row]:
        """Valid rows that have a score, best first; equals in table order."""
        scored = [(row, measure) for row in self.valid_rows(benchmark) if (measure := self.score(row, benchmark))]
        return [row for row, measure in sorted(scored, key=lambda pair: -pair[1].mean)]

    def difference(self, row: Row, other: Row, benchmark: str) -> Difference | None:
        """None where either row has no score."""
        family = self._families.get(benchmark, {})
        if found := family.get((row.label, other.label)):
            return found
        if found := family.get((other.label, row.label)):
            return found.turned()
        return self._pair(row, other, benchmark)

    def family(self, benchmark: str) -> tuple[Difference, ...]:
        """Every pair of valid rows that have a score, in table order, the later row minus the earlier; p-values corrected together."""
        return tuple(self._families.get(benchmark, {}).values())

    @cached_property
    def _families(self) -> Mapping[str, Mapping[tuple[str, str], Difference]]:
        def pairs(benchmark: str) -> Iterable[Difference | None]:
            return (self._pair(row, other, benchmark) for other, row in combinations(self.valid_rows(benchmark), 2))

        return {benchmark: corrected(pairs(benchmark)) for benchmark in self.benchmarks}

    def _pair(self, row: Row, other: Row, benchmark: str) -> Difference | None:
        ours, theirs = self.score(row, benchmark), self.score(other, benchmark)
        if ours is None or theirs is None:
            return None
        gap = paired_gap(row.scored[benchmark], other.scored[benchmark], self.kind(benchmark))
        return Difference(row.label, other.label, benchmark, gap.value if gap else ours.mean - theirs.mean, gap)

    def kind(self, benchmark: str) -> Kind:
        """What is compared on a benchmark."""
        return "pass@1" if self.executes(benchmark) else "bleu"


def blocks_of(study: Study, problems: Mapping[str, Sequence[Problem]]) -> list[Block]:
    """One block per model x data that has a tuned row; base rows that name no data of their own join every block of their model."""
    labels = [str(method.get("label") or method.get("name")) for method in study.recipe.get("methods", ()) if isinstance(method, dict)]
    return [_block(model, data, members, problems, labels) for (model, data), members in cells_of_blocks(study).items()]


def cells_of_blocks(study: Study) -> dict[tuple[str, str], list[Cell]]:
    """(model, data) -> the cells of that block."""
    tuned = [cell for cell in study.cells if cell.train is not None] or study.cells
    blocks = {}
    for model, data in dict.fromkeys((cell.model, cell.data) for cell in tuned):
        own_data = {cell.data for cell in tuned if cell.model == model}
        one = next(cell for cell in tuned if (cell.model, cell.data) == (model, data))
        beside = [c for c in study.cells if c.model == model and c.train is None and c.data != data]
        joining = [c for c in beside if stands_beside(c, one) or (not c.factors and c.data not in own_data)]
        blocks[model, data] = [cell for cell in study.cells if (cell.model, cell.data) == (model, data)] + joining
    return blocks


def cell_json(block: Block, row: Row) -> Json:
    """One entry of `cells` in `study report --json`."""
    invalid_on = {name: cause for name in block.benchmarks if (cause := row.invalid_on(name)) and not row.invalid_cause}
    measured = block.measured(row)
    causes = [row.invalid_cause] if row.invalid_cause else [f"{name}: {cause}" for name, cause in invalid_on.items()]
    return {
        "model": block.model,
        "method": row.label,
        "data": block.data,
        "seeds": list(row.seeds),
        "metrics": {name: measure.mean for name, measure in row.measures.items()},
        "ci95": {name: [m.low, m.high] for name, m in row.measures.items() if m.low is not None and m.high is not None},
        "trainable_share": row.trainable_share,
        "peak_memory_bytes": row.peak_memory_bytes,
        "measures": {name: spread.mean for name, spread in measured.items()},  # docs/measures.md
        "measures_range": {name: [spread.low, spread.high] for name, spread in measured.items()},  # over seeds
        "train_seconds": row.train_seconds,
        "tokens_per_s": row.tokens_per_s,
        "valid": not causes,
        "invalid_cause": "; ".join(causes) or None,
        "invalid_on": invalid_on,  # benchmarks whose scores alone do not stand
        "marks": {name: mark for name in block.benchmarks if (mark := row.mark_on(name))},
        "struck_metrics": {name: list(STRUCK_METRICS) for name in block.benchmarks if row.codebleu_struck(name)},
        "diagnosis": [to_json(found) | {"seeds": list(seeds)} for found, seeds in row.diagnoses.items()],
    }


def _block(model: str, data: str, cells: Sequence[Cell], problems: Mapping[str, Sequence[Problem]], labels: Sequence[str]) -> Block:
    by_row: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        by_row.setdefault(cell.row, []).append(cell)
    order = [*ROW_ORDER[:2], *(name for label in labels for name in (label, f"{label} {TUNED}")), *ROW_ORDER[2:]]
    names = sorted(by_row, key=lambda name: (order.index(name) if name in order else len(order), name))
    outcomes = {
        (name, benchmark): {cell.seed: read_outcomes(cell, benchmark) for cell in by_row[name] if benchmark in cell.benchmarks}
        for name in names
        for benchmark in dict.fromkeys(key for cell in by_row[name] for key in cell.benchmarks)
    }
    rows = tuple(_row(name, by_row[name], outcomes, problems) for name in names)
    return Block(model, data, rows, outcomes, problems)


def _row(
    label: str,
    cells: Sequence[Cell],
    outcomes: Mapping[tuple[str, str], Mapping[int, Sequence[Outcome]]],
    problems: Mapping[str, Sequence[Problem]],
) -> Row:
    measures: dict[str, Measure] = {}
    scored: dict[str, Scored] = {}
    for benchmark in dict.fromkeys(name for cell in cells for name in cell.benchmarks):
        parts = [cell.benchmarks[benchmark] for cell in cells if benchmark in cell.benchmarks]
        bleu = _mean_metric(parts, TEXT_SCORE)
        table = scored[benchmark] = table_of(outcomes[label, benchmark], problems.get(benchmark, ()), bleu)
        found = _pass_at_k(parts, table) | _text_metrics(parts, table)
        measures |= {f"{benchmark}:{name}": measure for name, measure in found.items()}
    return Row(label, tuple(cells), measures, scored)


def _pass_at_k(summaries: Sequence[BenchmarkSummary], scored: Scored) -> dict[str, Measure]:
    measures = {}
    for k in dict.fromkeys(k for part in summaries for k in part.pass_at_k):
        parts = [part for part in summaries if k in part.pass_at_k]
        interval: tuple[float, float] | None = None
        if len(parts) == 1:
            interval = parts[0].pass_at_k_ci95.get(k)
        elif k == "1" and scored.passed is not None:
            interval = mean_interval(scored.passed)
        measures[f"pass@{k}"] = Measure(stdlib_statistics.fmean(part.pass_at_k[k] for part in parts), *(interval or (None, None)))
    return measures


def _text_metrics(parts: Sequence[BenchmarkSummary], scored: Scored) -> dict[str, Measure]:
    measures = {}
    for name in dict.fromkeys(name for part in parts for name in part.metrics):
        mean = _mean_metric(parts, name)
        if mean is None:
            continue
        table = (scored.metrics or {}).get(name)
        interval = bleu_interval(scored) if name == TEXT_SCORE else None
        # An interval of a mean over samples belongs to a corpus value only where that value is their mean.
        if interval is None and table is not None and abs(float(table.mean()) - mean) < 1e-6:
            interval = mean_interval(table)
        measures[name] = Measure(mean, *(interval or (None, None)))
    return measures


def _mean_metric(parts: Sequence[BenchmarkSummary], name: str) -> float | None:
    values = [value for part in parts if isinstance(value := part.metrics.get(name), int | float)]
    return stdlib_statistics.fmean(values) if values else None
