"""Decontamination: which training documents overlap a benchmark, by which rule and how much of a problem they hold.

Rules: `text`, `code` and `tests`, runs of words in common with what a problem asks, with its answer and with its tests (see
`shared_runs`), at least `min_share` of them; `ast`, a function or script that is the reference but for names, docstrings, annotations and
layout; `whole`, the problem and its answer exactly, white space aside. One is enough. A document that comes from the same source as
problems which name their family (`basics`) is made from the same sentences on purpose: against these only `whole` counts.
"""

from __future__ import annotations

import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from codetune.config import DecontaminateConfig
from codetune.data.benchmarks import Benchmark
from codetune.data.overlap.normal_form import Shape, functions_of, normal_form, shape
from codetune.data.overlap.shared_runs import PARTS, TEMPLATE_PROBLEMS, SharedRuns, texts_of
from codetune.prompts.extract import parse
from codetune.records import Document, Problem

# Of smaller functions the name must be equal too: `return a + b` is everybody's. Of 75,062 functions of installed packages one was by
# chance an answer of HumanEval or MBPP from this size on, two from 16 nodes, five from 15, 16 of any size.
MIN_TREE_NODES = 17
BATCH_DOCUMENTS = 1000  # whose words are in memory at once
Rule = Literal["text", "code", "tests", "ast", "whole"]
_RULES: tuple[Rule, ...] = ("text", "code", "tests")  # of the parts
_MAYBE_CODE = re.compile(r"```|~~~|\bdef\b|\blambda\b|[\w)\]\"'] *=|\w\(")  # what a function or a script of statements cannot do without
_FENCED = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Overlap:
    """A document holds this `share` of a problem's runs of words (`text`, `code`, `tests`), or all its answer (`ast`, `whole`: 1.0)."""

    benchmark: str
    task_id: str
    rule: Rule
    share: float

    def __str__(self) -> str:
        named = self.task_id.lower().startswith(self.benchmark.lower())
        return f"{self.task_id}{'' if named else f' of {self.benchmark}'} by {self.rule}, {self.share:.0%}"


@dataclass(frozen=True, slots=True)
class _Asked:
    """One problem of a benchmark; `kin` is the source whose documents are made from the same sentences."""

    benchmark: str
    task_id: str
    kin: str


@dataclass(frozen=True, slots=True)
class Decontaminator:
    """Everything that a document is compared with. Plain data, so that it goes to worker processes; made by `of`."""

    asked: tuple[_Asked, ...]
    shared: SharedRuns  # problem i owns as many numbers as there are parts, from i * len(PARTS) on
    min_share: float
    trees: dict[bytes, tuple[tuple[int, str], ...]]  # normal form -> problems, and the name that must be equal or ""
    shapes: frozenset[Shape]
    wholes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, benchmarks: Sequence[Benchmark], config: DecontaminateConfig) -> Decontaminator:
        asked: list[_Asked] = []
        trees: dict[bytes, list[tuple[int, str]]] = defaultdict(list)
        shapes: set[Shape] = set()
        wholes: dict[str, list[int]] = defaultdict(list)
        for benchmark in benchmarks:
            own: dict[bytes, dict[int, str]] = defaultdict(dict)
            for number, problem in enumerate(benchmark.problems, len(asked)):
                wholes[_whole(problem)].append(number)
                for digest, name, form in _trees(problem):
                    own[digest][number] = name
                    shapes.add(form)
            for digest, owners in own.items():
                if len(owners) < TEMPLATE_PROBLEMS:
                    trees[digest] += owners.items()
            asked += [_Asked(benchmark.name, p.task_id, p.source if p.family else "") for p in benchmark.problems]
        texts = [[part for problem in benchmark.problems for part in texts_of(problem)] for benchmark in benchmarks]
        fixed_trees = {digest: tuple(owners) for digest, owners in trees.items()}
        fixed_wholes = {text: tuple(numbers) for text, numbers in wholes.items() if text}
        shared = SharedRuns.of(texts, config.run_words)
        return cls(tuple(asked), shared, config.min_share, fixed_trees, frozenset(shapes), fixed_wholes)

    def overlaps(self, documents: Sequence[Document]) -> list[tuple[Overlap, ...]]:
        """For each document what it overlaps, the largest share first; empty for nearly all."""
        found: list[tuple[Overlap, ...]] = []
        for first in range(0, len(documents), BATCH_DOCUMENTS):
            batch = documents[first : first + BATCH_DOCUMENTS]
            shares = self.shared.shares([document.whole for document in batch])
            found += map(self._overlaps, batch, shares)
        return found

    def _overlaps(self, document: Document, shares: dict[int, float]) -> tuple[Overlap, ...]:
        owned = ((divmod(owner, len(PARTS)), share) for owner, share in shares.items() if share >= self.min_share)
        found: dict[tuple[int, Rule], float] = {(number, _RULES[part]): share for (number, part), share in owned}
        found |= {(number, "ast"): 1.0 for program in _programs(document) for number in self._same_tree(program)}
        if document.source:
            found = {key: share for key, share in found.items() if self.asked[key[0]].kin != document.source}
        found |= {(number, "whole"): 1.0 for number in self.wholes.get(_whole(document.problem), ())}
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Overlap(self.asked[n].benchmark, self.asked[n].task_id, rule, share) for (n, rule), share in ordered)

    def _same_tree(self, program: str) -> Iterator[int]:
        tree = parse(program)
        for node in (tree, *functions_of(tree)) if tree is not None else ():
            if shape(node) in self.shapes and (form := normal_form(node)):
                yield from (number for number, name in self.trees.get(form.digest, ()) if name in ("", form.name))


def _whole(problem: Problem) -> str:
    """What makes a test problem the same as a training one: what is asked and what is answered, white space aside."""
    return " ".join(f"{problem.instruction}\n{problem.prompt}\n{problem.reference}".split())


def _trees(problem: Problem) -> Iterator[tuple[bytes, str, Shape]]:
    """Normal forms of the function that is asked for, or else of all, and of a script of several statements; the name where it must be
    equal. Helpers of an answer (is this a prime?) are not what is asked.
    """
    tree = parse(problem.reference_program)
    functions = list(functions_of(tree)) if tree is not None else []
    entry_point = problem.entry_point.rpartition(".")[2]
    scripts = [tree] if tree is not None and (len(tree.body) > 1 or not functions) else []
    for node in (*scripts, *([f for f in functions if f.name == entry_point] or functions)):
        form = normal_form(node)
        if form and (form.nodes >= MIN_TREE_NODES or (form.name and form.name == entry_point)):
            yield form.digest, "" if form.nodes >= MIN_TREE_NODES else form.name, shape(node)


def _programs(document: Document) -> Iterator[str]:
    """Texts of a document that may be Python: in fences, or all of a text that has none."""
    messages = (message.content for message in document.messages)
    asked = (text for text in (document.instruction, document.input, *messages) if _MAYBE_CODE.search(text))
    for text in (document.prompt + document.text, *asked):
        blocks = [block for _, block in _FENCED.findall(text)] if "```" in text or "~~~" in text else [text]
        yield from (textwrap.dedent(block) if block[:1].isspace() else block for block in blocks)
