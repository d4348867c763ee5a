"""All completions of a study as one compact record, for the page to browse: texts once each, samples as rows of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from codetune.records import Json, Problem
from codetune.study.cells import Outcome
from codetune.study.examples import MAX_CHARACTERS, SIGNS, capped, spread_out
from codetune.study.summary import Block, Row

PROBLEMS, SAMPLES = 400, 4  # of each benchmark in the page, and of each problem in a cell
TEXT_BYTES = 12_000_000  # all texts together: what a browser opens at once on a phone


@dataclass(frozen=True, slots=True)
class Browser:
    """`data` is what the page's script reads; `rule` says what is in it, `left_out` what is not and where that lies."""

    data: Json
    rule: str
    left_out: tuple[str, ...]


class _Texts:
    """Every text once; a sample has its number."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.bytes = 0
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.all)
            self.all.append(text)
            self.bytes += len(text.encode("utf-8", "surrogatepass"))
        return self._numbers[text]


def browser(blocks: Sequence[Block], anchors: Sequence[str], colors: Mapping[str, str]) -> Browser | None:
    """Completions of every cell on the same problems; fewer problems, the same for all, where the texts would grow too large."""
    if not any(outcomes for block in blocks for by_seed in block.outcomes.values() for outcomes in by_seed.values()):
        return None
    count = PROBLEMS
    while (found := _collect(blocks, anchors, colors, count))[1] > TEXT_BYTES and count > 10:
        count //= 2
    rule = (
        f"up to {count} problems of each benchmark, one from each part of it by the SHA-256 of its task_id and the same for every row; "
        f"up to {SAMPLES} samples of each; {MAX_CHARACTERS:,} characters of each text"
    )
    return Browser(found[0], rule, found[2])


def _collect(blocks: Sequence[Block], anchors: Sequence[str], colors: Mapping[str, str], count: int) -> tuple[Json, int, tuple[str, ...]]:
    """The record, the size of its texts in bytes, and what it leaves out."""
    texts, verdicts = _Texts(), list(SIGNS)
    problems = {name: _problems(blocks, name) for name in dict.fromkeys(name for block in blocks for name in block.benchmarks)}
    chosen = {name: spread_out(list(found), count) for name, found in problems.items()}
    cells, left_out = [], []
    for block, anchor in zip(blocks, anchors, strict=True):
        for row, benchmark, seed, outcomes in _cells(block):
            place = {task_id: number for number, task_id in enumerate(chosen[benchmark])}
            kept = [o for o in outcomes if o.task_id in place and o.index < SAMPLES]
            samples = [_sample(o, place, texts, verdicts) for o in kept]
            cells.append({
                "model": block.model, "data": block.data, "block": anchor, "row": row.label, "color": colors[row.label], "seed": seed,
                "tuned": not row.is_base, "invalid": row.invalid_on(benchmark), "benchmark": benchmark, "samples": samples,
            })  # fmt: skip
            if missing := len(outcomes) - len(kept):
                file = next(cell.path.name for cell in row.cells if cell.seed == seed)
                who = f"{block.model} on {block.data}, {row.label}, seed {seed}"
                left_out.append(f"{missing:,} of {len(outcomes):,} samples of {who} on {benchmark}: cells/{file}/scores-{benchmark}.jsonl")
    listed = {name: [_problem(problems[name][task_id], texts) for task_id in ids] for name, ids in chosen.items()}
    data = {"texts": texts.all, "verdicts": verdicts, "problems": listed, "cells": cells}
    return data, texts.bytes, tuple(left_out)


def _cells(block: Block) -> Iterator[tuple[Row, str, int, Sequence[Outcome]]]:
    for row in block.rows:
        for benchmark in block.benchmarks:
            for seed, outcomes in block.outcomes.get((row.label, benchmark), {}).items():
                yield row, benchmark, seed, outcomes


def _problems(blocks: Sequence[Block], benchmark: str) -> dict[str, Problem]:
    """By task_id, in benchmark order; those that were answered and are not known come last and bare."""
    asked = [found for block in blocks for (_, on), by_seed in block.outcomes.items() if on == benchmark for found in by_seed.values()]
    answered = dict.fromkeys(outcome.task_id for outcomes in asked for outcome in outcomes)
    known = {problem.task_id: problem for block in blocks for problem in block.problems.get(benchmark, ()) if problem.task_id in answered}
    return known | {task_id: Problem(task_id) for task_id in answered if task_id not in known}


def _problem(problem: Problem, texts: _Texts) -> list[object]:
    return [problem.task_id, problem.family, texts.number(capped(problem.instruction)[0]), texts.number(capped(problem.reference)[0])]


def _sample(outcome: Outcome, place: Mapping[str, int], texts: _Texts, verdicts: list[str]) -> list[object]:
    """[problem, index, completion, program, verdict, detail, BLEU of 0 to 100, characters cut]; -1 stands for none."""
    completion, program = capped(outcome.completion.strip("\n"))[0], capped(outcome.program.strip("\n"))[0]
    if outcome.verdict and outcome.verdict not in verdicts:
        verdicts.append(outcome.verdict)
    return [
        place[outcome.task_id],
        outcome.index,
        texts.number(completion),
        texts.number(program) if program != completion else -1,
        verdicts.index(outcome.verdict) if outcome.verdict else -1,
        texts.number(outcome.detail[:300]) if outcome.detail else -1,
        -1 if outcome.sentence_bleu is None else round(100 * outcome.sentence_bleu, 1),
        len(outcome.completion.strip("\n")) - len(completion),
    ]
