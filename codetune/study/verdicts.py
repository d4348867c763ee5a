"""What a study has found, as records: comparisons, groups, verdicts against the base model, power, text metrics against execution.

`verdicts_of(block)` judges one model x data; `model_verdicts(blocks)` gives one verdict a model. Nothing here is worded: that is in
`codetune.study.conclusions`. Every p-value is corrected (Holm) over its family: all pairs of valid rows, base rows among them, of one
model x data on one benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from codetune.records import Json, to_json
from codetune.score.comparisons import LEVEL, groups, letters
from codetune.score.power import POWER, PairSpread, power, problems_needed, seeds_needed, smallest_difference
from codetune.study.agreements import TextAgreement, text_against_execution
from codetune.study.cells import BASE, FEW_SHOT
from codetune.study.differences import Difference
from codetune.study.intervals import value_tables
from codetune.study.summary import Block, Row

Standing = Literal["better", "worse", "not told apart", "not tested"]
PLANNED_SEEDS = (3, 5, 10)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`row` minus `other`, in 0..1. The interval is the pair's own; `told_apart` goes by `p_corrected`. `covers`: what was drawn."""

    model: str
    data: str
    benchmark: str
    metric: str
    row: str
    other: str
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    p_corrected: float | None
    comparisons: int  # that p was corrected for
    told_apart: bool
    wins: int | None  # problems on which `row` is better
    losses: int | None
    method: str
    covers: str


@dataclass(frozen=True, slots=True)
class Groups:
    """Largest sets of rows of which no two are told apart, best first; rows without a common letter are told apart."""

    model: str
    data: str
    benchmark: str
    metric: str
    sets: tuple[tuple[str, ...], ...]
    letters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row against the base model: `row` is the best that is told apart from it, else the best valid one that was tuned."""

    model: str
    data: str
    benchmark: str
    metric: str
    standing: Standing
    row: str
    base: str
    comparison: Comparison | None  # that of `row`; None where there is no valid base or no tuned row
    rows: Mapping[str, Standing]  # of every tuned row


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """One a model, on its first benchmark: better than its own base or not, with the data where it shows most.

    `p_corrected` is that of the block times the number of blocks of the model, since the best of them is shown.
    """

    model: str
    benchmark: str
    standing: Standing
    row: str
    data: str
    p_corrected: float | None
    blocks: int


@dataclass(frozen=True, slots=True)
class Needed:
    """So many problems with so many seeds; None: no number up to a million would do, since seeds differ too much."""

    seeds: int
    problems: int | None


@dataclass(frozen=True, slots=True)
class Power:
    """What it takes to tell two rows apart, were their true difference the one that was seen.

    `level` is what the correction may ask of one pair, .05 over the number of comparisons; chances are of `wanted`. `smallest` is the true
    difference that a study like this one tells apart, `now` its chance for the difference that was seen. Variances come from the records:
    with few seeds the numbers are rough.
    """

    model: str
    data: str
    benchmark: str
    row: str
    other: str
    difference: float
    told_apart: bool
    level: float
    wanted: float
    problems: int
    seeds: int
    now: float
    smallest: float
    needed: tuple[Needed, ...]  # empty where each row has one run: what seeds would add is not known
    seeds_needed: int | None  # on as many problems as now
    problems_needed: int | None  # with as many seeds as now


@dataclass(frozen=True, slots=True)
class BlockVerdicts:
    """All that was found of one model x data; each tuple is ordered by benchmark."""

    comparisons: tuple[Comparison, ...]
    groups: tuple[Groups, ...]
    verdicts: tuple[Verdict, ...]
    power: tuple[Power, ...]
    text_against_execution: tuple[TextAgreement, ...]

    def verdict(self, benchmark: str) -> Verdict | None:
        return next((verdict for verdict in self.verdicts if verdict.benchmark == benchmark), None)

    def groups_on(self, benchmark: str) -> Groups | None:
        return next((found for found in self.groups if found.benchmark == benchmark), None)

    def power_of(self, row: str, other: str, benchmark: str) -> Power | None:
        return next((p for p in self.power if p.benchmark == benchmark and {p.row, p.other} == {row, other}), None)


@lru_cache(maxsize=256)
def verdicts_of(block: Block) -> BlockVerdicts:
    """Everything that the records of one model x data say, computed once for a block."""
    names = block.benchmarks
    return BlockVerdicts(
        comparisons=tuple(_comparison(block, pair) for name in names for pair in block.family(name)),
        groups=tuple(_groups(block, name) for name in names if block.ranked(name)),
        verdicts=tuple(_verdict(block, name) for name in names),
        power=tuple(found for name in names for pair in block.family(name) if (found := _power(block, pair))),
        text_against_execution=tuple(one for name in names if block.executes(name) for one in text_against_execution(block, name)),
    )


def model_verdicts(blocks: Sequence[Block]) -> tuple[ModelVerdict, ...]:
    """One verdict a model, over all the data that it was tuned on."""
    found = []
    for model in dict.fromkeys(block.model for block in blocks):
        own = [block for block in blocks if block.model == model and block.benchmarks]
        verdicts = [verdicts_of(block).verdicts[0] for block in own]
        if verdicts:
            found.append(_model_verdict(model, verdicts))
    return tuple(found)


def verdicts_json(blocks: Sequence[Block]) -> Json:
    """The keys that `study report --json` has beside `cells`."""
    found = [verdicts_of(block) for block in blocks]
    return {
        "comparisons": [to_json(one) for each in found for one in each.comparisons],
        "groups": [{**to_json(one), "letters": dict(one.letters)} for each in found for one in each.groups],
        "verdicts": {"models": to_json(model_verdicts(blocks)), "data": [_verdict_json(one) for each in found for one in each.verdicts]},
        "power": [to_json(one) for each in found for one in each.power],
        "text_against_execution": [to_json(one) for each in found for one in each.text_against_execution],
    }


def standing_of(difference: Difference | None) -> Standing:
    """How a row stands to another, after correction."""
    if difference is None or difference.p_corrected is None:
        return "not tested"
    if not difference.distinct:
        return "not told apart"
    return "better" if difference.mean > 0 else "worse"


def tuned_rows(block: Block, benchmark: str) -> list[Row]:
    """The valid rows that are more than the model as it was, best first."""
    return [row for row in block.ranked(benchmark) if row.label not in (BASE, FEW_SHOT)]


def _comparison(block: Block, pair: Difference) -> Comparison:
    gap = pair.gap
    return Comparison(
        block.model, block.data, pair.benchmark, block.score_name(pair.benchmark), pair.row, pair.other, pair.mean, pair.low, pair.high,
        gap.p_value if gap else None, pair.p_corrected, pair.family, pair.distinct, gap.wins if gap else None, gap.losses if gap else None,
        gap.method if gap else "", _covers(pair),
    )  # fmt: skip


def _covers(pair: Difference) -> str:
    if pair.gap is None:
        return ""
    seeded = [name for name, runs in zip((pair.row, pair.other), pair.gap.runs, strict=True) if runs > 1]
    if not seeded:
        return "problems"
    return "problems and seeds" + (f" of {seeded[0]}" if len(seeded) == 1 else "")


def _groups(block: Block, benchmark: str) -> Groups:
    names = [row.label for row in block.ranked(benchmark)]
    apart = {frozenset((pair.row, pair.other)): pair.distinct for pair in block.family(benchmark)}
    sets = groups(names, apart)
    return Groups(block.model, block.data, benchmark, block.score_name(benchmark), tuple(sets), letters(names, sets))


def _verdict(block: Block, benchmark: str) -> Verdict:
    base = block.base if block.base in block.ranked(benchmark) else None
    tuned = tuned_rows(block, benchmark)
    differences = {row.label: block.difference(row, base, benchmark) if base else None for row in tuned}
    rows = {label: standing_of(difference) for label, difference in differences.items()}
    best = next((label for label in rows if rows[label] == "better"), next(iter(rows), ""))
    difference = differences.get(best)
    return Verdict(
        block.model, block.data, benchmark, block.score_name(benchmark), rows.get(best, "not tested"), best, base.label if base else "",
        _comparison(block, difference) if difference else None, rows,
    )  # fmt: skip


def _model_verdict(model: str, verdicts: Sequence[Verdict]) -> ModelVerdict:
    number = len(verdicts)

    def p_of(verdict: Verdict) -> float | None:
        p_value = verdict.comparison.p_corrected if verdict.comparison else None
        return None if p_value is None else min(1.0, number * p_value)

    def better(verdict: Verdict) -> bool:
        p_value = p_of(verdict)
        return verdict.standing == "better" and p_value is not None and p_value < LEVEL

    best = max(verdicts, key=lambda v: (better(v), v.comparison is not None, v.comparison.difference if v.comparison else 0.0))
    standing: Standing = best.standing
    if best.standing in ("better", "worse") and (p_of(best) or 0.0) >= LEVEL:
        standing = "not told apart"
    return ModelVerdict(model, best.benchmark, standing, best.row, best.data, p_of(best), number)


def _power(block: Block, pair: Difference) -> Power | None:
    row, other = (next(row for row in block.rows if row.label == label) for label in (pair.row, pair.other))
    name = pair.benchmark
    if pair.gap is None or pair.family == 0:
        return None
    tables = value_tables(row.scored[name], other.scored[name], block.kind(name))
    if tables is None:
        return None
    spread, level = PairSpread.of(*tables), LEVEL / pair.family
    problems, seeds = pair.gap.problems, min({*pair.gap.runs} - {1}, default=1)
    planned = PLANNED_SEEDS if spread.rows else ()
    return Power(
        block.model, block.data, name, pair.row, pair.other, pair.mean, pair.distinct, level, POWER, problems, seeds,
        now=power(spread, pair.mean, problems, seeds, level),
        smallest=smallest_difference(spread, problems, seeds, level),
        needed=tuple(Needed(number, problems_needed(spread, pair.mean, number, level)) for number in planned),
        seeds_needed=seeds_needed(spread, pair.mean, problems, level),
        problems_needed=problems_needed(spread, pair.mean, seeds, level),
    )  # fmt: skip


def _verdict_json(verdict: Verdict) -> Json:
    found: Json = to_json(verdict)
    return {**found, "rows": dict(verdict.rows)}
