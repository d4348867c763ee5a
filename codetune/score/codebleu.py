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
import math
import operator
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tree_sitter import Node

from codetune.score import syntax
from codetune.score.bleu import ORDER, REF_LEN, WIDTH, Array, Gram, Ngrams, Pair, bleu_of_counts, count_matches, row_of_counts
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


@functools.lru_cache(maxsize=4)  # both conventions mostly see the same source
def _tree(source: str) -> tuple[Node, list[Node], Counter[str]]:
    root = syntax.parse(source)
    return root, *syntax.walk(root)


class _Analysis:
    """One text as a convention sees it. One that is empty (when lexed: but for comments), or whose tree is too deep, has no structure."""

    def __init__(self, text: str, lexed: bool) -> None:
        self.lexed = lexed
        self.source = syntax.strip_exactly(text) if lexed else syntax.strip_as_published(text)
        self.is_empty = not text.strip() or (lexed and not self.source)
        _, nodes, subtrees = _tree("" if self.is_empty else self.source)
        self.subtrees: Counter[str] = Counter() if self.is_empty else subtrees
        tokens = [word for word in syntax.exact_texts(nodes, self.source) if word] if lexed and nodes else text.split()
        self.ngrams = Ngrams([] if self.is_empty else tokens)

    @functools.cached_property
    def flows(self) -> Counter[NormalFlow]:
        """The data flow, which is asked for only where the other side has one."""
        root, nodes, _ = _tree(self.source)
        if self.is_empty or not nodes:
            return Counter()
        texts = syntax.exact_texts(nodes, self.source) if self.lexed else syntax.published_texts(nodes, self.source)
        return data_flow(root, nodes, texts, FIRST_SEEN if self.lexed else ALPHABETIC)


_analyse = functools.lru_cache(maxsize=2048)(_Analysis)  # references come back for every sample and every method


def _weighted_recall(hypothesis: Ngrams, references: Sequence[Ngrams], matches: list[list[int]], convention: Convention) -> list[float]:
    """The share of the references' n-grams that the hypothesis has, as a row of counts; keywords weigh five times as much.

    `matches` are those with each reference. Microsoft's code counts at least one n-gram per order, and takes every reference
    to be two tokens long.
    """
    least, ref_len = (0, 0) if convention.lexed else (1, 2)
    row = [0.0] * (2 * ORDER)
    for reference, found in zip(references, matches, strict=True):
        own, theirs = reference.of_order(1), hypothesis.of_order(1)
        shared = {gram: min(own[gram], theirs[gram]) for gram in own.keys() & theirs.keys()}
        matched = [_weight(shared), *found[1:]]
        given = [max(least, number) for number in (_weight(own), *reference.totals[1:])]
        row = list(map(operator.add, row, matched + given))
    return [*row, *[0] * ORDER, len(hypothesis), ref_len]


def _weight(unigrams: Mapping[Gram, int]) -> float:
    keywords = sum([count for (token,), count in unigrams.items() if token in KEYWORDS])
    return keywords + PLAIN_WEIGHT * (sum(unigrams.values()) - keywords)


def _count(hypothesis: _Analysis, references: Sequence[_Analysis], convention: Convention) -> Array:
    grams = [reference.ngrams for reference in references]
    matches = [count_matches(hypothesis.ngrams, [reference]) for reference in grams]
    in_any = matches[0] if len(matches) == 1 else count_matches(hypothesis.ngrams, grams)
    ngram = row_of_counts(in_any, hypothesis.ngrams, grams)
    if not convention.lexed:
        ngram[ORDER : 2 * ORDER] = [max(1, number) for number in ngram[ORDER : 2 * ORDER]]
    weighted = _weighted_recall(hypothesis.ngrams, grams, matches, convention)
    subtrees = flows = 0
    for reference in references:
        subtrees += sum([reference.subtrees[tree] for tree in reference.subtrees.keys() & hypothesis.subtrees.keys()])
        flows += (reference.flows & hypothesis.flows).total() if reference.flows else 0
    all_subtrees, all_flows = sum([each.subtrees.total() for each in references]), sum([each.flows.total() for each in references])
    return np.array([*ngram, *weighted, subtrees, all_subtrees, flows, all_flows])


def count_pair(completion: str, references: Sequence[str], convention: Convention = PUBLISHED) -> Array:
    """What adds over pairs, shape (32,): two rows as in `bleu`, subtrees matched and all, flows matched and all."""
    hypothesis = _analyse(completion, convention.lexed)
    analyses = [_analyse(reference, convention.lexed) for reference in references]
    if not convention.lexed or len(analyses) == 1:
        return _count(hypothesis, analyses, convention)
    counts = np.array([_count(hypothesis, [one], convention) for one in analyses])
    best: Array = counts[total(parts_of(counts), convention).argmax()]
    return best


def parts_of(counts: Array) -> Array:
    """The four parts of summed counts, shape (..., 32) -> (..., 4); NaN where the references do not define one."""
    ngram, weighted, matched, number = counts[..., :WIDTH], counts[..., WIDTH : 2 * WIDTH], counts[..., -4::2], counts[..., -3::2]
    has_tokens = ngram[..., REF_LEN] > 0
    grams = [np.where(has_tokens, bleu_of_counts(row, "epsilon"), np.nan) for row in (ngram, weighted)]
    shares = np.divide(matched, number, out=np.full_like(matched, np.nan), where=number > 0)
    return np.concatenate([np.stack(grams, axis=-1), shares], axis=-1)


def total(parts: Array, convention: Convention) -> Array:
    """CodeBLEU of its parts, shape (..., 4) -> (...): what is undefined counts 0, or is left out and the weights renormalised."""
    weights = np.array(convention.weights)
    found = (weights * np.nan_to_num(parts)).sum(axis=-1)
    if not convention.lexed:
        return np.asarray(found)
    known = (weights * ~np.isnan(parts)).sum(axis=-1)
    return np.asarray(np.divide(found, known, out=np.zeros_like(found), where=known > 0))


def of_counts(counts: Array, convention: Convention = PUBLISHED) -> CodeBleu:
    """CodeBLEU of the summed counts of a corpus, or of one pair's."""
    parts = parts_of(counts)
    ngram, weighted, trees, flows = (None if math.isnan(part) else float(part) for part in parts)
    return CodeBleu(float(total(parts, convention)), ngram, weighted, trees, flows, convention.signature)


def codebleu(pairs: Sequence[Pair], convention: Convention = PUBLISHED) -> CodeBleu:
    """CodeBLEU of a corpus of (completion, references): counts are added before they are divided.

    Raises ValueError if there is no pair.
    """
    if not pairs:
        raise ValueError("CodeBLEU of no pairs")
    counts = np.array([count_pair(completion, references, convention) for completion, references in pairs])
    return of_counts(counts.sum(axis=0), convention)
