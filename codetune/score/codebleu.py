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
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tree_sitter import Node

from codetune.score import syntax
from codetune.score.bleu import ORDER, REF_LEN, WIDTH, Array, Ngrams, Pair, bleu_of_counts, count_matches, count_ngrams, ngrams
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


class _Analysis(NamedTuple):
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


def _weighted_recall(hypothesis: Ngrams, references: Sequence[Ngrams], convention: Convention) -> list[float]:
    """The share of the references' n-grams that the hypothesis has, as a row of counts; keywords weigh five times as much.

    Microsoft's code counts at least one n-gram per order, and takes every reference to be two tokens long.
    """
    least = 0 if convention.lexed else 1
    matched, totals = [0.0] * ORDER, [0.0] * ORDER
    for reference in references:
        shared = {gram: min(count, hypothesis[0][gram]) for gram, count in reference[0].items() if gram in hypothesis[0]}
        found = [_weight(shared), *count_matches(hypothesis, reference)[1:]]
        length = reference[0].total()
        given = [_weight(reference[0]), *(max(0, length - order) for order in range(1, ORDER))]
        matched = [sum(pair) for pair in zip(matched, found, strict=True)]
        totals = [total + max(least, number) for total, number in zip(totals, given, strict=True)]
    return [*matched, *totals, *[0] * ORDER, hypothesis[0].total(), 0 if convention.lexed else 2]


def _weight(unigrams: Mapping[tuple[str, ...], int]) -> float:
    keywords = sum(count for (token,), count in unigrams.items() if token in KEYWORDS)
    return keywords + PLAIN_WEIGHT * (sum(unigrams.values()) - keywords)


def _count(hypothesis: _Analysis, references: Sequence[_Analysis], convention: Convention) -> Array:
    grams = [reference.ngrams for reference in references]
    ngram = count_ngrams(hypothesis.ngrams, grams)
    if not convention.lexed:
        ngram[ORDER : 2 * ORDER] = [max(1, total) for total in ngram[ORDER : 2 * ORDER]]
    weighted = _weighted_recall(hypothesis.ngrams, grams, convention)
    subtrees = sum(reference.subtrees[tree] for reference in references for tree in reference.subtrees.keys() & hypothesis.subtrees.keys())
    flows = sum((reference.flows & hypothesis.flows).total() for reference in references)
    all_subtrees, all_flows = (sum(getattr(reference, part).total() for reference in references) for part in ("subtrees", "flows"))
    return np.array([*ngram, *weighted, subtrees, all_subtrees, flows, all_flows], dtype=np.float64)


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
