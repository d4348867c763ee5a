"""Completions side by side: the same few problems for every row, chosen by a rule, shown safely whatever a model wrote."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

from codetune.records import Problem, Verdict
from codetune.study.cells import Outcome
from codetune.study.summary import Block, Row
from codetune.study.tables import format_score

COUNT = 10
MAX_CHARACTERS = 2_000  # of one completion; a model that repeats itself must not make a report of megabytes
MAX_LINES = 60
RULE = "one from each tenth of the benchmark, the one whose task_id has the smallest SHA-256, the same for every row: nobody picked them"

# fmt: off
SIGNS: dict[str, str] = {
    Verdict.PASSED: "✓", Verdict.WRONG_ANSWER: "✗", Verdict.EXCEPTION: "!", Verdict.SYNTAX_ERROR: "S", Verdict.TIMEOUT_CPU: "T",
    Verdict.TIMEOUT_WALL: "W", Verdict.MEMORY: "M", Verdict.OUTPUT_LIMIT: "O", Verdict.KILLED: "K", Verdict.NONPLAIN: "N",
    Verdict.INFRASTRUCTURE: "?",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Answer:
    """One row's completion. `note` says what was left out of `code`."""

    row: str
    verdict: str
    detail: str
    bleu: str
    code: str
    note: str

    @property
    def sign(self) -> str:
        return SIGNS.get(self.verdict, "·")


@dataclass(frozen=True, slots=True)
class Example:
    """One problem and what every row answered."""

    task_id: str
    family: str
    instruction: str
    reference: str
    answers: tuple[Answer, ...]


def spread_out(task_ids: Sequence[str], count: int = COUNT) -> list[str]:
    """One of each `count`-th part of the list, by hash: equal steps could meet the same family of problems every time."""
    count = min(len(task_ids), count)
    cuts = [part * len(task_ids) // count for part in range(count + 1)] if count else [0]
    return [min(task_ids[start:end], key=_digest) for start, end in itertools.pairwise(cuts)]


def choose_examples(block: Block, benchmark: str) -> list[Example]:
    """The chosen problems of a benchmark with the first sample of each row's first seed."""
    answers = {row.label: _first_outcomes(block, row, benchmark) for row in block.rows}
    order = _order(block, benchmark, answers.values())
    known = {problem.task_id: problem for problem in block.problems.get(benchmark, ())}
    return [
        _example(known.get(task_id) or Problem(task_id), {row: found[task_id] for row, found in answers.items() if task_id in found})
        for task_id in spread_out(order)
    ]


def capped(text: str) -> tuple[str, str]:
    """The text's beginning, and a note on what is missing of it (or "")."""
    shown = "\n".join(text.split("\n")[:MAX_LINES])[:MAX_CHARACTERS]
    missing = len(text) - len(shown)
    return shown, f"{missing:,} more characters are not shown" if missing else ""


def highlighted(code: str) -> str:
    """Python as safe HTML: every character escaped, tokens in `<span class=...>`; what does not parse stays plain."""
    return str(highlight(code, PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True)))


def _digest(task_id: str) -> str:
    return hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()


def _first_outcomes(block: Block, row: Row, benchmark: str) -> dict[str, Outcome]:
    by_seed = block.outcomes.get((row.label, benchmark), {})
    first: dict[str, Outcome] = {}
    for outcome in by_seed[min(by_seed)] if by_seed else ():
        first.setdefault(outcome.task_id, outcome)
    return first


def _order(block: Block, benchmark: str, answers: Iterable[Mapping[str, Outcome]]) -> list[str]:
    """Problems that were answered, in benchmark order; in file order where the problems are not known."""
    answered = list(dict.fromkeys(task_id for found in answers for task_id in found))
    listed = [problem.task_id for problem in block.problems.get(benchmark, ()) if problem.task_id in set(answered)]
    return listed or answered


def _example(problem: Problem, outcomes: Mapping[str, Outcome]) -> Example:
    answers = tuple(_answer(row, outcome) for row, outcome in outcomes.items())
    return Example(problem.task_id, problem.family, problem.instruction, problem.reference, answers)


def _answer(row: str, outcome: Outcome) -> Answer:
    code, note = capped((outcome.program or outcome.completion).strip("\n"))
    bleu = "" if outcome.sentence_bleu is None else format_score(outcome.sentence_bleu)
    return Answer(row, outcome.verdict, outcome.detail[:300], bleu, code, note)
