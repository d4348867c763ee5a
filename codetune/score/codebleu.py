"""CodeBLEU for Python (Ren et al. 2020) in two conventions: the published one, bug for bug, and a corrected one.

`PUBLISHED` is Microsoft's arithmetic with Microsoft's rule that an undefined data flow counts 0 (the `codebleu` package
says 1, which gives an empty completion 0.25). `LEXED` differs in four points: tokens are Python's, not runs without white
space; of several references the best counts, not their sum; what is undefined is left out and the weights renormalised;
comments and docstrings are removed from all parts, and strings that are data stay. An empty completion is 0 in both.

>>> result = codebleu([("def add(a, b):\\n    return a + b", ["def plus(x, y):\\n    return x + y"])], LEXED)
>>> result.syntax, result.dataflow
(1.0, 1.0)
"""

from __future__ import annotations

import functools
import keyword
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tree_sitter import Node

from codetune.score import syntax
from codetune.score.bleu import HYP_LEN, ORDER, REF_LEN, WIDTH, Array, Ngrams, Pair, bleu_of_counts, count_ngrams, ngrams
from codetune.score.dataflow import ALPHABETIC, FIRST_SEEN, NormalFlow, data_flow

KEYWORDS = frozenset(keyword.kwlist) | {"match", "case", "type"}
PLAIN_WEIGHT = 0.2  # of a token that is no keyword; a keyword has 1
PARTS = ("ngram", "weighted_ngram", "syntax", "dataflow")


@dataclass(frozen=True, slots=True)
class Convention:
    """A way to compute CodeBLEU; `weights` are those of the four parts."""

    name: str
    lexed: bool
    weights: tuple[float, float, float, float] = (0.25, 0.25, 0.25, 0.25)

    @property
    def signature(self) -> str:
        """All that is needed to compute the same number elsewhere."""
        how = (
            "tok:tree-sitter leaves|comments and docstrings:removed|refs:best of|undefined:left out"
            if self.lexed
            else f"tok:whitespace|comments:removed by tokenize of Python {sys.version_info[0]}.{sys.version_info[1]}|refs:sum|undefined:0"
        )
        weights = ",".join(f"{weight:g}" for weight in self.weights)
        return f"{self.name}|lang:python|{how}|weights:{weights}|smooth:epsilon 0.1|empty:0|grammar:{syntax.grammar()}|scale:0..1"


PUBLISHED = Convention("codebleu", lexed=False)
LEXED = Convention("codebleu_lexed", lexed=True)


@dataclass(frozen=True, slots=True)
class CodeBleu:
    """The four parts and their weighted sum, all in 0..1; a part that is undefined is None."""

    total: float
    ngram: float | None
    weighted_ngram: float | None
    syntax: float | None
    dataflow: float | None
    signature: str

    @property
    def undefined(self) -> tuple[str, ...]:
        """The parts that the references do not define: no token, no syntax tree, no data flow."""
        return tuple(part for part in PARTS if getattr(self, part) is None)


@dataclass(frozen=True, slots=True)
class Counts:
    """What adds over pairs: two rows of n-gram counts as in `bleu`, (matched, all) subtrees and (matched, all) flows."""

    ngram: Array
    weighted: Array
    syntax: Array
    dataflow: Array

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.ngram + other.ngram, self.weighted + other.weighted, self.syntax + other.syntax, self.dataflow + other.dataflow)


@dataclass(frozen=True, slots=True)
class _Analysis:
    """One text as a convention sees it."""

    ngrams: Ngrams
    subtrees: Counter[str]
    flows: Counter[NormalFlow]


@functools.lru_cache(maxsize=4)  # both conventions mostly see the same source
def _tree(source: str) -> tuple[Node, list[Node], Counter[str]]:
    root = syntax.parse(source)
    return root, *syntax.walk(root)


@functools.lru_cache(maxsize=2048)  # references come back for every sample and every method
def _analyse(text: str, lexed: bool) -> _Analysis:
    """A text that is empty (when lexed: but for comments), or whose tree is too deep, has no structure."""
    source = syntax.strip_exactly(text) if lexed else syntax.strip_as_published(text)
    if not text.strip() or (lexed and not source):
        return _Analysis(ngrams([]), Counter(), Counter())
    root, nodes, subtrees = _tree(source)
    if lexed:
        texts = syntax.exact_texts(nodes, source)
        tokens = [word for word in texts if word] if nodes else text.split()
    else:
        texts, tokens = syntax.published_texts(nodes, source), text.split()
    flows = data_flow(root, nodes, texts, FIRST_SEEN if lexed else ALPHABETIC) if nodes else Counter()
    return _Analysis(ngrams(tokens), subtrees, flows)


def _weighted_recall(hypothesis: Ngrams, references: Sequence[Ngrams], least: int) -> Array:
    """The share of the references' n-grams that the hypothesis has, as a row of counts; keywords weigh five times as much.

    Each order of each reference counts as at least `least` n-grams.
    """
    row = np.zeros(WIDTH)
    for reference in references:
        matched = [reference[index] & hypothesis[index] for index in range(ORDER)]
        row[0] += _weight(matched[0])
        row[1:ORDER] += [grams.total() for grams in matched[1:]]
        row[ORDER] += max(least, _weight(reference[0]))
        row[ORDER + 1 : 2 * ORDER] += [max(least, grams.total()) for grams in reference[1:]]
    row[HYP_LEN] = hypothesis[0].total()
    return row


def _weight(unigrams: Counter[tuple[str, ...]]) -> float:
    return sum(count * (1.0 if token in KEYWORDS else PLAIN_WEIGHT) for (token,), count in unigrams.items())


def _count(hypothesis: _Analysis, references: Sequence[_Analysis], convention: Convention) -> Counts:
    ngram = count_ngrams(hypothesis.ngrams, [reference.ngrams for reference in references])
    weighted = _weighted_recall(hypothesis.ngrams, [reference.ngrams for reference in references], least=0 if convention.lexed else 1)
    if not convention.lexed:  # Microsoft counts at least one n-gram per order, and takes every reference to be two tokens long
        ngram[ORDER : 2 * ORDER] = np.maximum(ngram[ORDER : 2 * ORDER], 1)
        weighted[REF_LEN] = 2
    subtrees, flows = np.zeros(2), np.zeros(2)
    for reference in references:
        matched = sum(count for tree, count in reference.subtrees.items() if tree in hypothesis.subtrees)
        subtrees += matched, reference.subtrees.total()
        flows += (reference.flows & hypothesis.flows).total(), reference.flows.total()
    return Counts(ngram, weighted, subtrees, flows)


def count_pair(completion: str, references: Sequence[str], convention: Convention = PUBLISHED) -> Counts:
    """The counts of one pair. Add them up over a corpus and pass them to `of_counts`."""
    hypothesis = _analyse(completion, convention.lexed)
    analyses = [_analyse(reference, convention.lexed) for reference in references]
    if not convention.lexed:
        return _count(hypothesis, analyses, convention)
    return max((_count(hypothesis, [one], convention) for one in analyses), key=lambda counts: of_counts(counts, convention).total)


def of_counts(counts: Counts, convention: Convention = PUBLISHED) -> CodeBleu:
    """CodeBLEU of the summed counts of a corpus, or of one pair's."""
    has_tokens = counts.ngram[REF_LEN] > 0
    parts = (
        float(bleu_of_counts(counts.ngram, "epsilon")) if has_tokens else None,
        float(bleu_of_counts(counts.weighted, "epsilon")) if has_tokens else None,
        _share(counts.syntax),
        _share(counts.dataflow),
    )
    known = [(weight, part) for weight, part in zip(convention.weights, parts, strict=True) if part is not None]
    whole = sum(weight for weight, _ in known) if convention.lexed and known else 1.0
    return CodeBleu(sum(weight * part for weight, part in known) / whole, *parts, signature=convention.signature)


def _share(row: Array) -> float | None:
    return float(row[0] / row[1]) if row[1] else None


def codebleu(pairs: Sequence[Pair], convention: Convention = PUBLISHED) -> CodeBleu:
    """CodeBLEU of a corpus of (completion, references): counts are added before they are divided.

    Raises ValueError if there is no pair.
    """
    if not pairs:
        raise ValueError("CodeBLEU of no pairs")
    counts = [count_pair(completion, references, convention) for completion, references in pairs]
    return of_counts(sum(counts[1:], start=counts[0]), convention)
