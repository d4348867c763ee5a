"""What a file of problems holds, in numbers: how many, how long, how many with tests, how many twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from codetune.data import benchmarks, own
from codetune.data.sources import SOURCES, Opened, open_source
from codetune.data_recipe import SourceConfig
from codetune.prompts.extract import parse
from codetune.records import Problem


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of texts, in characters."""

    median: float
    p95: int
    longest: int


@dataclass(frozen=True, slots=True)
class Description:
    """Shares are fractions of the problems. Texts count as equal up to white space and case."""

    problems: int
    wish_chars: Lengths
    reference_chars: Lengths
    with_tests: float
    with_reference: float
    references_that_parse: float  # of those that are there
    repeated_wishes: float
    repeated_pairs: float


def problems_of(name_or_path: str) -> Sequence[Problem] | None:
    """The problems of a benchmark, or of a file in the form of own problems; None where it is something to train on."""
    if name_or_path in benchmarks.names() and name_or_path not in SOURCES:
        return benchmarks.load(name_or_path).problems
    path = Path(name_or_path)
    if path.is_file():
        opened = open_source(SourceConfig(source=name_or_path))
        if isinstance(opened, Opened) and opened.source.name == "problems":
            return own.load(path)
    return None


def describe(problems: Sequence[Problem]) -> Description:
    """The numbers of a list of problems, which must not be empty."""
    answered = [problem for problem in problems if problem.reference]
    return Description(
        problems=len(problems),
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
