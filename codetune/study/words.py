"""What the report says in sentences: the headline, what intervals cover, and how differences read."""

from __future__ import annotations

from codetune.study.differences import Difference
from codetune.study.summary import Block, Measure, Row
from codetune.study.tables import (
    format_bytes,
    format_interval,
    format_percent,
    format_points,
    format_score,
    format_seconds,
    format_small_percent,
)

METRIC_NAMES = {
    "pass@1": "pass@1",
    "pass_rate": "pass rate",
    "bleu": "BLEU",
    "codebleu": "CodeBLEU",
    "codebleu_lexed": "CodeBLEU (lexed)",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "exact_match": "exact match",
    "edit_similarity": "edit similarity",
    "syntax_valid": "valid syntax",
}


def metric_name(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric)


def headline(block: Block) -> str:
    """Which row won on the first benchmark, by how much, how sure that is and what it cost: one sentence."""
    if not block.benchmarks:
        return "No benchmark has been scored yet."
    benchmark = block.benchmarks[0]
    ranked = block.ranked(benchmark)
    if not ranked:
        return f"No row has a valid score on {benchmark} yet."
    best, base = ranked[0], block.base
    score = block.score(best, benchmark)
    assert score is not None  # ranked rows have one
    if best.is_base and len(ranked) > 1:
        found = f"{best.label} {_reaches(block, best, benchmark, score)}{_next(block, ranked)}"
        return f"On {benchmark} no tuned model beats the model as it was: {found}."
    parts = [f"On {benchmark} {best.label} {_reaches(block, best, benchmark, score)}"]
    if base is not None and base is not best and (difference := block.difference(best, base, benchmark)):
        parts.append(f", {_by(difference, 'the base model')}")
    return "".join(parts) + _next(block, ranked) + _cost(best) + "."


def coverage(block: Block) -> str:
    """What the 95% intervals cover."""
    counts = sorted({len(row.seeds) for row in block.rows if not row.is_base})
    sizes = ", ".join(f"{_num_problems(block, name)} problems of {name}" for name in block.benchmarks)
    if not counts or counts[-1] == 1:
        return (
            f"95% intervals cover which problems were asked ({sizes}), and nothing else: every row was trained with one seed, so how much "
            "another seed would change is not in them. Differences are paired by problem."
        )
    seeds = f"{counts[-1]} training seeds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} training seeds"
    return (
        f"Scores are means over {seeds}; 95% intervals cover both which problems were asked ({sizes}) and which seeds were drawn. "
        "Rows that train nothing have one run, so theirs cover problems only. Differences are paired by problem."
    )


def told_apart(difference: Difference) -> str:
    """The verdict on a difference in two words."""
    if difference.low is None:
        return "no interval"
    return "told apart" if difference.distinct else "not told apart"


def paired_detail(difference: Difference) -> str:
    """`better on 240 problems, worse on 3; p < 0.001 after correction for 15 comparisons`; empty where there is no test."""
    gap = difference.gap
    if gap is None:
        return ""
    corrected = difference.p_corrected if difference.p_corrected is not None else gap.p_value
    how = f" after correction for {difference.family} comparisons" if difference.family > 1 else ""
    return f"better on {gap.wins} problems, worse on {gap.losses}; {p_text(corrected)}{how}"


def p_text(p_value: float) -> str:
    """`p = 0.41`, two digits; never a p of 0.

    >>> p_text(0.0312), p_text(0.4149), p_text(1e-9)
    ('p = 0.031', 'p = 0.41', 'p < 0.001')
    """
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def interval_text(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else format_interval(low, high)


def _reaches(block: Block, row: Row, benchmark: str, score: Measure) -> str:
    interval = f" (95% interval {interval_text(score.low, score.high)})" if score.low is not None else ""
    if mark := row.mark_on(benchmark):
        interval += f" ({mark})"
    if block.executes(benchmark):
        return f"passes the tests of {format_percent(score.mean)} of the problems{interval}"
    return f"reaches a BLEU of {format_score(score.mean)}{interval}"


def _by(difference: Difference, whom: str) -> str:
    """`79.1 points over the base model (74.0 to 84.1)`."""
    direction = "over" if difference.mean >= 0 else "under"
    interval = f" ({interval_text(difference.low, difference.high)})" if difference.low is not None else ""
    return f"{format_points(abs(difference.mean)).lstrip('+')} points {direction} {whom}{interval}"


def _next(block: Block, ranked: list[Row]) -> str:
    """The runner-up, which is the best valid row after the winner; the base model itself was compared already."""
    if len(ranked) < 2 or (ranked[1] is block.base and not ranked[0].is_base):
        return ""
    difference = block.difference(ranked[0], ranked[1], block.benchmarks[0])
    if difference is None:
        return ""
    if difference.low is None:
        sure = ""
    elif difference.distinct:
        sure = ", so the two can be told apart"
    else:
        sure = ", so the two cannot be told apart"
    return f", and {_by(difference, ranked[1].label)}{sure}"


def _cost(row: Row) -> str:
    if row.train_seconds is None:
        return ""
    memory = f" and {format_bytes(row.peak_memory_bytes)} of memory at its peak" if row.peak_memory_bytes else ""
    return f"; it trained {format_small_percent(row.trainable_share)} of the parameters in {format_seconds(row.train_seconds)}{memory}"


def _num_problems(block: Block, benchmark: str) -> int:
    return max(cell.benchmarks[benchmark].num_problems for row in block.rows for cell in row.cells if benchmark in cell.benchmarks)
