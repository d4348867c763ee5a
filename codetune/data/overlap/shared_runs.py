"""Finds runs of words that texts have in common with the problems of benchmarks: whole shards at once, in numpy.

A run is `run_words` words in a row (13: Brown et al. 2020, appendix C); a text of a benchmark that has fewer, but at least eight, counts
as a whole. Two kinds of runs do not count, for everybody writes them. What three problems of a benchmark share is its template. And a
run needs two different words that tell something (no number, single letter, keyword or builtin), or one beside `assert`, or else
`for i in range(n): for j in range(n):` and lists of zeros would be overlaps.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codetune.data.words import Hashes, Words, runs, spans, word_hashes
from codetune.prompts.extract import parse
from codetune.records import AssertTest, CallTest, Problem, StdioTest, Test

SHORTEST_RUN = 8
TEMPLATE_PROBLEMS = 3  # from so many problems of one benchmark on, what they share is its template
_WORD = re.compile(r"[A-Za-z0-9_\u0080-\U0010ffff]+")  # the words of `codetune.data.words`
_FENCED = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n.*?(?:^[ \t]*\1[^\n]*|\Z)", re.MULTILINE | re.DOTALL)
_PLAIN = frozenset(word.lower() for word in (*keyword.kwlist, *dir(builtins), "self", "cls"))
Positions = NDArray[np.int64]
PARTS = ("text", "code", "tests")  # of a problem, each with runs of its own


@dataclass(frozen=True, slots=True)
class _Table:
    """All runs of one length: of run `known[i]` the owners are `owners[offsets[i] : offsets[i + 1]]`."""

    known: Hashes  # sorted
    offsets: Positions
    owners: Positions


@dataclass(frozen=True, slots=True)
class SharedRuns:
    """Runs of words and whose they are; owners are numbers that the caller gives them."""

    tables: Mapping[int, _Table]  # by length in words
    counted: Positions  # [owners]: how many different runs each has
    shortest: int  # words of the shortest runs
    prefixes: Hashes  # sorted: of every run its first `shortest` words
    prefix_bits: NDArray[np.bool_]  # which low bits they have: rules nearly every other run out, without a search

    @classmethod
    def of(cls, benchmarks: Sequence[Sequence[Sequence[str]]], run_words: int) -> SharedRuns:
        """The runs of texts by benchmark and owner, whose numbers go through all benchmarks; a problem is as many owners as `PARTS`."""
        shortest = min(SHORTEST_RUN, run_words)
        found: dict[int, list[tuple[Hashes, Positions]]] = {}
        prefixes, first = [np.zeros(0, dtype=np.uint64)], 0
        for owners in benchmarks:
            for length, hashes, whose, heads in _runs_of(owners, run_words, shortest):
                found.setdefault(length, []).append((hashes, whose + first))
                prefixes.append(heads)
            first += len(owners)
        counted = np.zeros(first, dtype=np.int64)
        tables = {}
        for length, parts in sorted(found.items()):
            owned, whose = _unique_pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            known, starts = np.unique(owned, return_index=True)
            tables[length] = _Table(known, np.append(starts, len(whose)), whose)
            counted += np.bincount(whose, minlength=first)
        heads = np.unique(np.concatenate(prefixes))
        bits = np.zeros(1 << max(10, int(16 * len(heads)).bit_length()), dtype=bool)
        bits[heads & np.uint64(len(bits) - 1)] = True
        return cls(tables, counted, shortest, heads, bits)

    def shares(self, texts: Sequence[str]) -> list[dict[int, float]]:
        """For each text the owners that it has runs in common with, and which share of theirs it has."""
        words = word_hashes(texts)
        heads = runs(words, self.shortest)
        at = np.flatnonzero(self.prefix_bits[heads.hashes & np.uint64(len(self.prefix_bits) - 1)])
        at = at[_contains(self.prefixes, heads.hashes[at])[0]]
        text = np.searchsorted(heads.offsets, at, side="right") - 1
        starts = at + words.offsets[text] - heads.offsets[text]
        hits = [np.zeros(0, dtype=np.int64)]
        for length, table in self.tables.items():
            inside = starts + length <= words.offsets[text + 1]
            shared, place = _contains(table.known, runs_at(words, starts[inside], length))
            places, which = _unique_pairs(place[shared].astype(np.uint64), text[inside][shared])
            begin = table.offsets[places.astype(np.int64)]
            end = table.offsets[places.astype(np.int64) + 1]
            whose = table.owners[spans(begin, end - begin)]
            hits.append(np.repeat(which, end - begin) * len(self.counted) + whose)
        shares: list[dict[int, float]] = [{} for _ in texts]
        for key, count in zip(*np.unique(np.concatenate(hits), return_counts=True), strict=True):
            number, owner = divmod(int(key), len(self.counted))
            shares[number][owner] = int(count) / int(self.counted[owner])
        return shares


def texts_of(problem: Problem) -> tuple[list[str], list[str], list[str]]:
    """The `PARTS` of a problem: what it says in words (the wish, docstrings), its program without them, and each of its tests.

    What every problem of its kind is given is not in them: code that the wish shows in fences and comments (`class TreeNode` in
    LeetCode), and the prompt of an answer that is a program by itself.
    """
    alone = bool(problem.prompt) and parse(problem.reference) is not None
    wish, program = [_FENCED.sub("", problem.instruction)], problem.reference if alone else problem.reference_program
    if (tree := parse(program)) is not None:
        lines = ["" if line.lstrip().startswith("#") else line for line in program.split("\n")]
        for docstring in _docstrings(tree):
            wish.append(str(docstring.value))
            for number in range(docstring.lineno - 1, docstring.end_lineno or docstring.lineno):
                lines[number] = ""
        program = "\n".join(lines)
    else:
        wish.append(problem.prompt)
    return wish, [program], [problem.input, *(_test_text(problem, test) for test in problem.tests)]


def runs_at(words: Words, starts: Positions, length: int) -> Hashes:
    """The hash of the run of `length` words that begins at each of the positions."""
    picked = words.hashes[starts[:, None] + np.arange(length)]
    return runs(Words(picked.ravel(), np.arange(len(starts) + 1) * length), length).hashes


def _runs_of(owners: Sequence[Sequence[str]], run_words: int, shortest: int) -> Iterator[tuple[int, Hashes, Positions, Hashes]]:
    """Of one benchmark's texts, by length of run: the hashes of all that count, whose they are, and the hashes of their first words."""
    texts = [text for own in owners for text in own]
    owner = np.repeat(np.arange(len(owners)), [len(own) for own in owners])
    words = word_hashes(texts)
    telling = _Telling(words, texts)
    sizes = np.diff(words.offsets)
    for length in range(shortest, run_words + 1):
        chosen = np.flatnonzero(sizes >= length if length == run_words else sizes == length)
        counts = sizes[chosen] - length + 1
        starts = spans(words.offsets[chosen], counts)
        whose = np.repeat(owner[chosen], counts)
        told = telling.within(starts, length)
        starts, whose = starts[told], whose[told]
        if not len(starts):
            continue
        hashes = runs_at(words, starts, length)
        own = _no_template(hashes, whose // len(PARTS))
        yield length, hashes[own], whose[own], runs_at(words, starts[own], shortest)


def _no_template(hashes: Hashes, problem: Positions) -> NDArray[np.bool_]:
    """Which runs belong to fewer than `TEMPLATE_PROBLEMS` problems."""
    known, counts = np.unique(_unique_pairs(hashes, problem)[0], return_counts=True)
    return np.asarray(counts[np.searchsorted(known, hashes)] < TEMPLATE_PROBLEMS)


class _Telling:
    """Where the words stand that tell something, so that each run can be asked whether it has enough of them."""

    def __init__(self, words: Words, texts: Sequence[str]) -> None:
        found = [word.lower() for text in texts for word in _WORD.findall(text)]
        telling = {word: len(word) > 1 and not word.isnumeric() and word not in _PLAIN for word in set(found)}
        self._at = np.flatnonzero([telling[word] for word in found]).astype(np.int64)
        self._asserts = np.flatnonzero([word == "assert" for word in found]).astype(np.int64)
        self._end = len(words.hashes)  # beyond every run
        changes = np.flatnonzero(np.diff(words.hashes[self._at])) + 1  # a word like the one before is no second one
        self._other = np.append(self._at[changes], self._end)[np.searchsorted(changes, np.arange(len(self._at)), side="right")]

    def within(self, starts: Positions, length: int) -> NDArray[np.bool_]:
        """Whether two different telling words, or one and an `assert`, are among the `length` words from each start on."""
        index = np.searchsorted(self._at, starts)
        first = np.append(self._at, self._end)[index]
        second = np.append(self._other, self._end)[index]
        asserted = np.append(self._asserts, self._end)[np.searchsorted(self._asserts, starts)]
        return np.asarray(np.maximum(first, np.minimum(second, asserted)) < starts + length)


def _contains(known: Hashes, asked: Hashes) -> tuple[NDArray[np.bool_], Positions]:
    """Which are among the sorted ones, and where."""
    if not len(known):
        return np.zeros(len(asked), dtype=bool), np.zeros(len(asked), dtype=np.int64)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return known[place] == asked, place


def _unique_pairs(values: Hashes, numbers: Positions) -> tuple[Hashes, Positions]:
    """Each pair once, sorted by value, then by number."""
    order = np.lexsort((numbers, values))
    values, sorted_numbers = values[order], numbers[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = (np.diff(values) != 0) | (np.diff(sorted_numbers) != 0)
    return values[new], sorted_numbers[new]


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str()) as docstring), *_]:
                    yield docstring


def _test_text(problem: Problem, test: Test) -> str:
    """A test as people write it. Inputs without answers (EvalPlus) give nothing away."""
    match test:
        case AssertTest(code):
            return code
        case CallTest(given, output):
            return f"assert {problem.entry_point}({', '.join(map(repr, given))}) == {output!r}"
        case StdioTest(stdin, stdout):
            return f"{stdin}\n{stdout}"
    return ""
