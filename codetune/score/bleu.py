"""BLEU-4 (Papineni et al. 2002) for code, as additive n-gram counts and named variants with a signature.

Counts of one pair are a row of 14 numbers; a corpus is the sum of its rows, so that a bootstrap over problems only
adds rows again:

    0:4 clipped matches by order   4:8 n-grams of the hypothesis   8:12 n-grams of the reference that counts
    12 length of the hypothesis    13 length of the reference nearest in length

>>> round(100 * bleu([("sorted(xs)", ["sorted(xs)"]), ("max(xs)", ["min(xs)"])]), 2)
72.31
"""

from __future__ import annotations

import functools
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ORDER = 4
HYP_LEN, REF_LEN, WIDTH = 12, 13, 14

Array = NDArray[np.float64]
Gram = tuple[str, ...]
Pair = tuple[str, Sequence[str]]  # a completion and the references it may equal
Smoothing = Literal["none", "epsilon", "add-one", "add-one-above-unigrams"]


def conala_tokens(code: str) -> list[str]:
    """The tokeniser of the CoNaLa challenge (Ling et al. 2016): spaces round every sign, camelCase split, quotes as one sign.

    >>> conala_tokens("os.getCwd('a')")
    ['os', '.', 'get', 'Cwd', '(', '`', 'a', '`', ')']
    """
    code = re.sub(r"([^A-Za-z0-9_])", r" \1 ", code)
    code = re.sub(r"([a-z])([A-Z])", r"\1 \2", code)
    return code.replace('"', "`").replace("'", "`").split()


def whitespace_tokens(text: str) -> list[str]:
    """The text split at white space, as CodeXGLUE's text-to-code evaluator does."""
    return text.split()


def codexglue_text_tokens(text: str) -> list[str]:
    """Words and signs in lower case, the underscore a sign, as CodeXGLUE's code-to-text evaluator splits comments.

    Its two steps (signs apart, then NIST's mteval-v11a rules) come to this: once every sign stands alone, the only
    rule of the second step that still fires is the one for the underscore.
    """
    return re.findall(r"[^\W_]+|_|[^\w\s]", text.lower())


class Ngrams:
    """The runs of 1, 2, 3 and 4 tokens of a text, counted when they are first asked for; its length is that of the text."""

    __slots__ = ("_counts", "_tokens", "totals")

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._counts: list[Mapping[Gram, int]] = []
        self.totals = [max(0, len(tokens) - order) for order in range(ORDER)]  # how many runs of each length there are

    def __len__(self) -> int:
        return len(self._tokens)

    def of_order(self, order: int) -> Mapping[Gram, int]:
        """How often each run of `order` tokens occurs."""
        while len(self._counts) < order:
            grams = list(zip(*(self._tokens[start:] for start in range(len(self._counts) + 1)), strict=False))
            once = dict.fromkeys(grams, 1)  # the usual case for longer ones, and several times as fast as a Counter
            self._counts.append(once if len(once) == len(grams) else Counter(grams))
        return self._counts[order - 1]


def closest_length(length: int, others: Sequence[int]) -> int:
    """The reference length nearest to the hypothesis's, the shorter of two equally near (Papineni et al.)."""
    return min(others, key=lambda other: (abs(other - length), other))


def count_matches(own: Ngrams, others: Sequence[Ngrams]) -> list[int]:
    """How many n-grams of each order are in other texts, each as often as in the one that has it most."""
    found = []
    for order in range(1, ORDER + 1):
        counts = [other.of_order(order) for other in others]
        theirs = counts[0] if len(counts) == 1 else functools.reduce(operator.or_, map(Counter, counts))
        mine = own.of_order(order)
        shared = mine.keys() & theirs.keys()
        if not shared:  # nor any longer n-gram, which would hold a shorter one
            break
        found.append(sum([min(mine[gram], theirs[gram]) for gram in shared]))
    return found + [0] * (ORDER - len(found))


def row_of_counts(matches: list[int], hypothesis: Ngrams, references: Sequence[Ngrams], shortest_reference: bool = False) -> list[float]:
    """The row of counts of one hypothesis with so many matches of each order in its references."""
    lengths = [len(reference) for reference in references]
    nearest = min(lengths) if shortest_reference else closest_length(len(hypothesis), lengths)
    of_reference = references[lengths.index(nearest)].totals
    return [*matches, *hypothesis.totals, *of_reference, len(hypothesis), nearest]


def bleu_of_counts(counts: Array, smoothing: Smoothing = "none", brevity_offset: int = 0) -> Array:
    """BLEU in 0..1 of summed counts, shape (..., 14) -> (...).

    An order at which neither side has a single n-gram is left out of the geometric mean: otherwise a corpus of texts shorter
    than four tokens could not equal itself. No hypothesis token at all gives 0. `brevity_offset` is added to both lengths.
    """
    matches, totals, of_reference = counts[..., :ORDER], counts[..., ORDER : 2 * ORDER], counts[..., 2 * ORDER : 3 * ORDER]
    hyp_len, ref_len = counts[..., HYP_LEN], counts[..., REF_LEN]
    defined = (totals > 0) | (of_reference > 0)
    if smoothing == "epsilon":  # method 1 of Chen and Cherry 2014, with NLTK's epsilon
        matches = np.where(matches == 0, 0.1, matches)
    elif smoothing != "none":  # Lin and Och 2004
        added = np.ones(ORDER) if smoothing == "add-one" else np.array([0.0, 1.0, 1.0, 1.0])
        matches, totals = matches + added, totals + added
    with np.errstate(divide="ignore"):
        logs = np.where(defined, np.log(matches / np.where(totals > 0, totals, 1)), 0.0)
        mean = logs.sum(axis=-1) / np.maximum(defined.sum(axis=-1), 1)
        brevity = np.minimum(0.0, 1 - (ref_len + brevity_offset) / np.maximum(hyp_len + brevity_offset, 1e-300))
    nothing = hyp_len == 0 if smoothing == "add-one" else counts[..., 0] == 0
    return np.asarray(np.where(nothing, 0.0, np.exp(mean + brevity)))


@dataclass(frozen=True, slots=True)
class BleuVariant:
    """One published way to compute BLEU, or ours. `sentence_mean` averages over sentences instead of adding their counts."""

    name: str
    tokenize: Callable[[str], list[str]]
    smoothing: Smoothing = "none"
    shortest_reference: bool = False
    sentence_mean: bool = False
    brevity_offset: int = 0

    @property
    def signature(self) -> str:
        """All that is needed to compute the same number elsewhere."""
        length = "shortest" if self.shortest_reference else "closest"
        level = "mean of sentences" if self.sentence_mean else "corpus"
        brevity = f"|brevity:+{self.brevity_offset}" if self.brevity_offset else ""
        return (
            f"bleu-4|{self.name}|tok:{self.tokenize.__name__}|smooth:{self.smoothing}|level:{level}"
            f"|ref-length:{length}{brevity}|empty:0|scale:0..1"
        )

    def counts(self, pairs: Sequence[Pair]) -> Array:
        """The counts of each pair, shape (pairs, 14)."""

        rows = []
        for text, references in pairs:
            hypothesis, *others = (Ngrams(self.tokenize(each)) for each in (text, *references))
            rows.append(row_of_counts(count_matches(hypothesis, others), hypothesis, others, self.shortest_reference))
        return np.array(rows, dtype=np.float64).reshape(len(rows), WIDTH)

    def score(self, counts: Array) -> Array:
        """BLEU of each row of counts, shape (..., 14) -> (...): a sentence, or the sum of a corpus."""
        return bleu_of_counts(counts, self.smoothing, self.brevity_offset)


CONALA = BleuVariant("conala", conala_tokens)
SENTENCE = BleuVariant("conala-sentence", conala_tokens, smoothing="add-one-above-unigrams", sentence_mean=True)
CODEXGLUE_TEXT_TO_CODE = BleuVariant("codexglue-text-to-code", whitespace_tokens, smoothing="add-one", shortest_reference=True)
CODEXGLUE_CODE_TO_TEXT = BleuVariant(
    "codexglue-code-to-text",
    codexglue_text_tokens,
    smoothing="add-one-above-unigrams",
    shortest_reference=True,
    sentence_mean=True,
    brevity_offset=1,
)


def bleu(pairs: Sequence[Pair], variant: BleuVariant = CONALA) -> float:
    """BLEU in 0..1 of a corpus under one variant; 0 for no pairs."""
    counts = variant.counts(pairs)
    if variant.sentence_mean and len(counts):
        return float(variant.score(counts).mean())
    return float(variant.score(counts.sum(axis=0)))


def sentence_bleu(completion: str, references: Sequence[str]) -> float:
    """BLEU in 0..1 of one completion, CoNaLa tokens, one added to the counts above unigrams (Lin and Och 2004)."""
    return bleu([(completion, references)], SENTENCE)
