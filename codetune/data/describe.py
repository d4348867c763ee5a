"""What a file of problems holds, in numbers: how many, how long, how many with tests, how many twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from codetune.data import benchmarks, own
from codetune.data.files import read_rows
from codetune.data.sources import load_source
from codetune.errors import UserError, nearest
from codetune.prompts.extract import parse
from codetune.records import Problem

NAMED_SOURCES = ("basics", "conala", "mbpp")


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of texts, in characters."""

    median: float
    p95: int
    longest: int


@dataclass(frozen=True, slots=True)
class Description:
    """`left_out` are rows without an answer; shares are fractions of the problems. Texts count as equal up to white space and case."""

    problems: int
    left_out: int
    wish_chars: Lengths
    reference_chars: Lengths
    with_tests: float
    with_reference: float
    references_that_parse: float  # of those that are there
    repeated_wishes: float
    repeated_pairs: float


def read_problems(name_or_path: str) -> tuple[list[Problem], int]:
    """The problems of a file or a named source, and how many of its rows were left out for want of an answer."""
    path = Path(name_or_path)
    if path.exists() or path.suffix or "/" in name_or_path:
        rows = read_rows(path)
        problems = load_source(str(path)) if "output" in rows[0].values else own.load(path)
        return list(problems), len(rows) - len(problems)
    if name_or_path in NAMED_SOURCES:
        return list(load_source(name_or_path)), 0
    if name_or_path in benchmarks.names():
        return list(benchmarks.load(name_or_path).problems), 0
    names = sorted({*NAMED_SOURCES, *benchmarks.names()})
    raise UserError(f"no data {name_or_path!r}: {nearest(name_or_path, names)}, or a JSON or JSONL file")


def describe(problems: Sequence[Problem], left_out: int = 0) -> Description:
    """The numbers of a list of problems, which must not be empty."""
    if not problems:
        raise UserError("there is no problem in it: every row lacks an answer")
    answered = [problem for problem in problems if problem.reference]
    return Description(
        problems=len(problems),
        left_out=left_out,
        wish_chars=_lengths(map(_wish, problems)),
        reference_chars=_lengths(problem.reference for problem in answered),
        with_tests=_share(problems, lambda problem: bool(problem.tests)),
        with_reference=len(answered) / len(problems),
        references_that_parse=_share(answered, lambda problem: parse(problem.reference_program) is not None),
        repeated_wishes=_repeated(_plain(_wish(problem)) for problem in problems),
        repeated_pairs=_repeated((_plain(_wish(problem)), _plain(problem.reference)) for problem in problems),
    )


def _wish(problem: Problem) -> str:
    return "\n".join(part for part in (problem.instruction, problem.input, problem.prompt) if part)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _lengths(texts: Iterable[str]) -> Lengths:
    lengths = sorted(map(len, texts)) or [0]
    return Lengths(median(lengths), lengths[(len(lengths) - 1) * 95 // 100], lengths[-1])


def _share(problems: Sequence[Problem], holds: Callable[[Problem], bool]) -> float:
    return sum(map(holds, problems)) / len(problems) if problems else 0.0


def _repeated(keys: Iterable[Hashable]) -> float:
    """The share that is a repetition of an earlier one."""
    listed = list(keys)
    return 1 - len(set(listed)) / len(listed)
