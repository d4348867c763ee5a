"""A blind sheet of pairs: two rows' completions of the same problems, for a person to say which is right and which reads better.

Which row stands left is drawn for each pair, and nothing in the page says it: that is in the key beside it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.errors import UserError
from codetune.records import Json, Problem
from codetune.runs import write_json
from codetune.study.cells import Cell, Outcome, read_outcomes, read_study
from codetune.study.reading import problems_of
from codetune.study.rendering import render, write_page
from codetune.study.summary import cells_of_blocks

KEY_FORMAT = "codetune judgement key 1"
QUESTIONS = {"correctness": "Which one does what the task asks?", "readability": "Which one reads better?"}
FOLDER = "judgements"  # in the study's folder: a copy of each key, and the votes that came back


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sheet is of; `model` and `data` may be "" where the study leaves no choice."""

    rows: tuple[str, str]
    benchmark: str
    problems: int = 40
    seed: int = 0
    model: str = ""
    data: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What was written: `asked` pairs to vote on, `identical` ones that no one need look at."""

    page: Path
    key: Path
    asked: int
    identical: int


def write_sheet(study_dir: Path, choice: Choice, page: Path) -> Sheet:
    """The page, its key beside it, and a copy of the key in the study's folder. Raises UserError where there is nothing to compare.

    Problems, training seeds, samples and sides are drawn by the seed: the same call gives the same sheet. Two completions that are
    the same text are not asked about; they count as "same".
    """
    study = read_study(study_dir)
    model, data, cells = _cells(cells_of_blocks(study), choice)
    first, second = choice.rows
    _known(first, [cell.row for cell in cells], f"row of {model} on {data}")
    _known(second, [cell.row for cell in cells], f"row of {model} on {data}")
    _known(choice.benchmark, [name for cell in cells for name in cell.benchmarks], "benchmark of this study")
    if first == second:
        raise UserError(f"--rows {first},{second}: give two different rows")
    pairs = _pairs(cells, choice, f"{model}/{data}")
    if not pairs:
        raise UserError(f"{first} and {second} answered no problem of {choice.benchmark} in common: nothing to compare")
    known = {problem.task_id: problem for problem in problems_of(study_dir, choice.benchmark)}
    key: Json = {
        "format": KEY_FORMAT, "study": study.name, "model": model, "data": data, "benchmark": choice.benchmark,
        "rows": [first, second], "seed": choice.seed, "pairs": [pair.entry for pair in pairs],
    }  # fmt: skip
    key["sheet"] = sheet_id(key)
    asked = [_shown(pair, known.get(pair.entry["task_id"])) for pair in pairs if pair.entry["asked"]]
    shown = {"sheet": key["sheet"], "benchmark": choice.benchmark, "questions": QUESTIONS, "pairs": asked}
    write_page(page, render("judge.html.jinja", data=shown, colors={}))
    beside = page.with_suffix(".key.json")
    for path in (beside, study_dir / FOLDER / str(key["sheet"]) / "key.json"):
        write_json(path, key)
    return Sheet(page, beside, len(asked), len(pairs) - len(asked))


def sheet_id(key: Json) -> str:
    """What a key's content hashes to: a key that was changed no longer has its own name."""
    text = json.dumps({name: part for name, part in key.items() if name != "sheet"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Pair:
    entry: Json
    left: str
    right: str


def _pairs(cells: Sequence[Cell], choice: Choice, where: str) -> list[_Pair]:
    drawn = random.Random(f"{choice.seed}/{'/'.join(choice.rows)}/{choice.benchmark}/{where}")
    answers = [_answers([cell for cell in cells if cell.row == row], choice.benchmark) for row in choice.rows]
    common = [task_id for task_id in answers[0] if task_id in answers[1]]
    pairs = []
    for number, task_id in enumerate(drawn.sample(common, min(choice.problems, len(common))), start=1):
        chosen = [(row, *drawn.choice(found[task_id])) for row, found in zip(choice.rows, answers, strict=True)]
        drawn.shuffle(chosen)
        texts = [outcome.completion.strip("\n") for _, _, outcome in chosen]
        entry: Json = {"pair": f"{number:03d}", "task_id": task_id, "asked": texts[0] != texts[1]}
        for side, (label, seed, outcome), text in zip(("left", "right"), chosen, texts, strict=True):
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            entry[side] = {"row": label, "seed": seed, "sample": outcome.index, "verdict": outcome.verdict, "text": digest}
        pairs.append(_Pair(entry, *texts))
    return pairs


def _answers(cells: Sequence[Cell], benchmark: str) -> dict[str, list[tuple[int, Outcome]]]:
    """By problem, every (training seed, sample) of a row."""
    found: dict[str, list[tuple[int, Outcome]]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        for outcome in read_outcomes(cell, benchmark) if benchmark in cell.benchmarks else ():
            found.setdefault(outcome.task_id, []).append((cell.seed, outcome))
    return found


def _shown(pair: _Pair, problem: Problem | None) -> Mapping[str, str]:
    """What the page has of a pair: no task_id, from which a judge with the report at hand could look the rows up."""
    task = (problem.instruction if problem else "") or str(pair.entry["task_id"])
    reference = problem.reference if problem else ""
    return {"pair": str(pair.entry["pair"]), "task": task, "reference": reference, "left": pair.left, "right": pair.right}


def _cells(blocks: Mapping[tuple[str, str], list[Cell]], choice: Choice) -> tuple[str, str, list[Cell]]:
    """The one model x data that is meant, and its cells."""
    fitting = [(model, data) for model, data in blocks if choice.model in ("", model) and choice.data in ("", data)]
    if len(fitting) == 1:
        return *fitting[0], blocks[fitting[0]]
    there = "; ".join(f"--model '{model}' --data '{data}'" for model, data in fitting or blocks)
    if not there:
        raise UserError("no cell of this study is finished yet: nothing to compare")
    which = "several models or data sets fit" if fitting else f"no cells of --model {choice.model!r} --data {choice.data!r}"
    raise UserError(f"{which}: choose one of {there}")


def _known(given: str, names: Sequence[str], what: str) -> None:
    there = list(dict.fromkeys(names))
    if given not in there:
        near = difflib.get_close_matches(given, there, n=1)
        meant = f": did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{given!r} is no {what} (there are: {', '.join(there)}){meant}")
