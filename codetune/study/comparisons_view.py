"""What a study's statistics found, as the report shows it: groups, pairs with corrected p, what it would take, text against tests."""

from __future__ import annotations

from dataclasses import dataclass

from codetune.study.agreements import TextAgreement
from codetune.study.summary import Block
from codetune.study.tables import MISSING, format_percent, format_points
from codetune.study.verdicts import Comparison, Power, verdicts_of
from codetune.study.view import Names, RowName
from codetune.study.words import interval_text, metric_name, p_text


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A row with its letters: rows that share one cannot be told apart."""

    row: RowName
    letters: str


@dataclass(frozen=True, slots=True)
class PairLine:
    """`needed`: so many problems or seeds would tell the two apart, were their true difference the one that was seen."""

    rows: str
    difference: str
    interval: str
    p_corrected: str
    words: str
    wins: str
    needed: str


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    title: str
    groups: tuple[GroupLine, ...]
    pairs: tuple[PairLine, ...]
    correction: str


@dataclass(frozen=True, slots=True)
class AgreementLine:
    """A text metric against passing; every text is a number with its 95% interval, or a dash."""

    metric: str
    programs: str
    within: str
    wrong: str
    rows: str


@dataclass(frozen=True, slots=True)
class AgreementTable:
    title: str
    lines: tuple[AgreementLine, ...]


def comparison_tables(block: Block, names: Names) -> list[ComparisonTable]:
    """One for each benchmark that has two valid rows."""
    judged, tables = verdicts_of(block), []
    for benchmark in block.benchmarks:
        pairs = [one for one in judged.comparisons if one.benchmark == benchmark]
        groups = judged.groups_on(benchmark)
        if not pairs or groups is None:
            continue
        lines = tuple(_pair(one, judged.power_of(one.row, one.other, benchmark)) for one in pairs)
        shown = tuple(GroupLine(names.of(label), letters) for label, letters in groups.letters.items())
        number = pairs[0].comparisons
        correction = f"p-values are corrected (Holm) for {number} comparisons" if number > 1 else "one comparison, no correction"
        tables.append(ComparisonTable(f"{metric_name(groups.metric)} on {benchmark}", shown, lines, correction))
    return tables


def agreement_tables(block: Block) -> list[AgreementTable]:
    """Text metrics against execution, a table for each benchmark that has it."""
    found = verdicts_of(block).text_against_execution
    names = dict.fromkeys(one.benchmark for one in found)
    return [AgreementTable(name, tuple(_agreement(one) for one in found if one.benchmark == name)) for name in names]


def _pair(one: Comparison, power: Power | None) -> PairLine:
    tested = one.p_corrected is not None
    wins = f"{one.wins} : {one.losses}" if one.wins is not None else MISSING
    return PairLine(
        f"{one.row} − {one.other}",
        format_points(one.difference),
        interval_text(one.low, one.high),
        p_text(one.p_corrected) if one.p_corrected is not None else MISSING,
        "told apart" if one.told_apart else "not told apart" if tested else "no test",
        wins,
        _needed(power) if power is not None and not one.told_apart else "",
    )


def _needed(power: Power) -> str:
    options = [f"{one.problems:,} problems with {one.seeds} seeds" for one in power.needed if one.problems is not None]
    if not power.needed and power.problems_needed is not None:
        options = [f"{power.problems_needed:,} problems"]
    if power.seeds_needed is not None:
        options.append(f"{power.seeds_needed} seeds on the same problems")
    return " or ".join(options) or "no number would do"


def _agreement(one: TextAgreement) -> AgreementLine:
    def correlation(found: object) -> str:
        value, low, high = (getattr(found, name, None) for name in ("value", "low", "high"))
        return MISSING if value is None else f"{value:.2f} ({low:.2f} to {high:.2f})"

    wrong = one.wrong_preference
    said = MISSING if wrong is None else f"{format_percent(wrong.share, 0)} ({interval_text(wrong.low, wrong.high)}; {wrong.pairs:,} pairs)"
    return AgreementLine(
        metric_name(one.metric), correlation(one.point_biserial), correlation(one.within_problems), said, correlation(one.rows_spearman)
    )
