"""A study's conclusions in plain sentences, made from its statistics and nothing else.

    for sentence in conclusions(blocks): print(sentence)

Of each model x data on its first benchmark: which rows are better than the base model, which of the best cannot be told apart and what
they cost beside each other, what it would take to tell them apart, and whether BLEU says what execution says. Of several: what holds in
all of them. "Told apart" is always after correction for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence

from codetune.study.agreements import TextAgreement
from codetune.study.differences import Difference
from codetune.study.summary import Block, Row
from codetune.study.tables import format_interval, format_points
from codetune.study.verdicts import (
    BlockVerdicts,
    ModelVerdict,
    Power,
    Standing,
    Verdict,
    model_verdicts,
    standing_of,
    tuned_rows,
    verdicts_of,
)
from codetune.study.words import metric_name, p_text


def conclusions(blocks: Sequence[Block]) -> tuple[str, ...]:
    """What the study found, a sentence each: one verdict a model, then each model x data, then what holds in all of them."""
    scored = [block for block in blocks if block.benchmarks and block.ranked(block.benchmarks[0])]
    found: list[str] = []
    if len(scored) > 1:
        found += [_model(verdict) for verdict in model_verdicts(scored)]
        found += _in_all(scored)
    for block in scored:
        place = f"{block.model} on {block.data}: " if len(scored) > 1 else ""
        found += [place + sentence for sentence in _of_block(block)]
    return tuple(found)


def _of_block(block: Block) -> list[str]:
    benchmark, judged = block.benchmarks[0], verdicts_of(block)
    verdict = judged.verdict(benchmark)
    sentences = _verdict(block, verdict) if verdict else []
    sentences += _best_group(block, benchmark, judged)
    agreements = [one for one in judged.text_against_execution if (one.benchmark, one.metric) == (benchmark, "bleu")]
    sentences += [text for one in agreements for text in _text(one)]
    sentences += _left_out(block, benchmark)
    if sentences and all(len(row.seeds) == 1 for row in block.rows):
        sentences.append("Every row is one run: these findings are about these runs, and another seed may turn them round.")
    return sentences


def _verdict(block: Block, verdict: Verdict) -> list[str]:
    """Better than the base model or not: the best row with its numbers, the others by name."""
    metric, on = metric_name(verdict.metric), verdict.benchmark
    if verdict.standing == "not tested" or verdict.comparison is None:
        return [f"No tuned row can be compared with the base model on {on}."] if block.base and tuned_rows(block, on) else []
    one = verdict.comparison
    numbers = f"{_points(one.difference)} {metric} on {on}{_interval(one.low, one.high)}; {_corrected(one.p_corrected, one.comparisons)}"
    if verdict.standing == "better":
        sentences = [f"{verdict.row} is better than its base model: {numbers}."]
    else:
        sentences = [f"No tuned row is better than the base model; the best of them, {verdict.row}, differs by {numbers}."]
    others: dict[Standing, list[str]] = {}
    for label, standing in verdict.rows.items():
        if label != verdict.row:
            others.setdefault(standing, []).append(label)
    if better := others.get("better"):
        sentences.append(f"{_listed(better)} {_are(better)} better than the base model, too.")
    if alike := others.get("not told apart"):
        sentences.append(f"{_listed(alike)} {_are(alike)} not better than the base model: no difference can be told.")
    if worse := others.get("worse"):
        sentences.append(f"{_listed(worse)} {_are(worse)} worse than the base model.")
    return sentences


def _best_group(block: Block, benchmark: str, judged: BlockVerdicts) -> list[str]:
    """The best tuned row and those that cannot be told from it: p, cost, and what it would take to tell the nearest apart."""
    tuned = tuned_rows(block, benchmark)
    if len(tuned) < 2:
        return []
    best, metric = tuned[0], metric_name(block.score_name(benchmark))
    differences = {row.label: block.difference(best, row, benchmark) for row in tuned[1:]}
    alike = [row for row in tuned[1:] if standing_of(differences[row.label]) == "not told apart"]
    if not alike:
        if not all(standing_of(one) == "better" for one in differences.values()):
            return []
        return [f"{best.label} is told apart from every other row on {metric}{_versus(differences[tuned[1].label], tuned[1].label)}."]
    sentences = []
    for row in alike:
        difference = differences[row.label]
        p_value = f" ({p_text(difference.p_corrected)})" if difference and difference.p_corrected is not None else ""
        sentences.append(f"{best.label} and {row.label} cannot be told apart on {metric}{p_value}{_cost(best, row)}.")
    if plan := judged.power_of(best.label, alike[0].label, benchmark):
        sentences.append(_needed(plan, best.label, alike[0].label))
    return sentences


def _versus(difference: Difference | None, label: str) -> str:
    if difference is None:
        return ""
    return f": {format_points(difference.mean)} points over {label}, the next{_interval(difference.low, difference.high)}"


def _cost(best: Row, row: Row) -> str:
    """`; lora needs 31% of the memory and 60% of the time`, said of the one that needs less memory."""
    if not best.peak_memory_bytes or not row.peak_memory_bytes:
        return ""
    small, large = (row, best) if row.peak_memory_bytes <= best.peak_memory_bytes else (best, row)
    assert small.peak_memory_bytes is not None
    assert large.peak_memory_bytes is not None
    share = small.peak_memory_bytes / large.peak_memory_bytes
    memory = f"{100 * share:.0f}% of the memory" if share < 0.995 else "as much memory"
    time = ""
    if small.train_seconds and large.train_seconds:
        time = f" and {100 * small.train_seconds / large.train_seconds:.0f}% of the training time"
    return f"; {small.label} needs {memory}{time}"


def _needed(plan: Power, first: str, second: str) -> str:
    """What it would take, were the difference as large as it was seen to be, and what this study could have found."""
    options = [f"{one.problems:,} problems with {one.seeds} seeds" for one in plan.needed if one.problems is not None]
    if not options and not plan.needed and plan.problems_needed is not None:
        options = [f"{plan.problems_needed:,} problems, with one run each"]
    if plan.seeds_needed is not None:
        options.append(f"{plan.seeds_needed} seeds on the {plan.problems:,} problems of now")
    seen = format_points(abs(plan.difference)).lstrip("+")
    could = f"as it was, the study tells apart differences from {format_points(plan.smallest).lstrip('+')} points on"
    if not options:
        return f"{first} and {second} differ by {seen} points, which no number of problems up to a million would tell apart; {could}."
    chance = f"{100 * plan.wanted:.0f}% of the time"
    return f"Were {seen} points their true difference, {first} and {second} would be told apart {chance} by {_either(options)}; {could}."


def _text(agreement: TextAgreement) -> list[str]:
    """Whether BLEU prefers programs, and rows, that pass."""
    sentences = []
    if wrong := agreement.wrong_preference:
        ties = f", and is the same for both in {100 * wrong.ties:.0f}%" if wrong.ties >= 0.005 else ""
        sentences.append(
            f"Of a failing and a passing program for one problem BLEU prefers the failing one in {100 * wrong.share:.0f}% of pairs"
            f"{_interval(wrong.low, wrong.high)}{ties} ({wrong.pairs:,} pairs, {wrong.problems} problems)."
        )
    if rows := agreement.rows_spearman:
        interval = f"({rows.low:.2f} to {rows.high:.2f})"
        sentences.append(f"Over {rows.count} rows the rank correlation of BLEU with pass@1 is {rows.value:.2f} {interval}.")
    return sentences


def _left_out(block: Block, benchmark: str) -> list[str]:
    """Rows whose numbers do not stand."""
    return [f"{row.label} is left out: {cause}." for row in block.rows if (cause := row.invalid_on(benchmark))]


def _model(verdict: ModelVerdict) -> str:
    corrected = f" ({p_text(verdict.p_corrected)})" if verdict.p_corrected is not None else ""
    if verdict.standing == "better":
        return f"{verdict.model} is better tuned than as it was: {verdict.row} on {verdict.data}{corrected}."
    if verdict.standing == "not tested":
        return f"Whether {verdict.model} is better tuned than as it was, the records do not say."
    return f"{verdict.model} was not made better than it was{corrected}."


def _in_all(blocks: Sequence[Block]) -> list[str]:
    """What holds in every one of several model x data: rows against the base model, and rows against each other."""
    against = [verdict for block in blocks if (verdict := verdicts_of(block).verdict(block.benchmarks[0]))]
    labels = [label for label in dict.fromkeys(label for v in against for label in v.rows) if sum(label in v.rows for v in against) > 1]
    sentences = []
    for label in labels:
        standings = [verdict.rows[label] for verdict in against if label in verdict.rows]
        better, number = standings.count("better"), len(standings)
        share = "all" if better == number else "none" if not better else f"{better}"
        sentences.append(f"{label} is better than the base model in {share} of {number} model and data combinations.")
    for index, first in enumerate(labels):
        for second in labels[index + 1 :]:
            sentences += _pair_in_all(blocks, first, second)
    return sentences


def _pair_in_all(blocks: Sequence[Block], first: str, second: str) -> list[str]:
    found: list[Standing] = []
    for block in blocks:
        rows = {row.label: row for row in tuned_rows(block, block.benchmarks[0])}
        if first in rows and second in rows:
            found.append(standing_of(block.difference(rows[first], rows[second], block.benchmarks[0])))
    if len(found) < 2 or len(set(found)) != 1 or found[0] == "not tested":
        return []
    if found[0] == "not told apart":
        return [f"{first} and {second} are told apart in none of {len(found)} combinations."]
    winner, loser = (first, second) if found[0] == "better" else (second, first)
    return [f"{winner} is better than {loser} in all of {len(found)} combinations."]


def _corrected(p_value: float | None, comparisons: int) -> str:
    if p_value is None:
        return "no test"
    return p_text(p_value) + (f" after correction for {comparisons} comparisons" if comparisons > 1 else "")


def _points(difference: float) -> str:
    return f"{format_points(difference)} points of"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95% interval {format_interval(low, high)})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _either(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
