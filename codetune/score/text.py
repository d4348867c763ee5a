"""Scores completions against references as text: every text metric of codetune through one call, `score_text`.

Nothing here runs a completion. All metrics are in 0..1, an empty completion is 0 in each, and each names in a signature
what is needed to compute it elsewhere.

>>> scores = score_text([("max(xs)", ["max(xs)"]), ("", ["min(xs)"])])
>>> scores.metrics["exact_match"], scores.samples[0]["rouge_l"]
(0.5, 1.0)
"""

from __future__ import annotations

import ast
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from codetune.errors import UserError, nearest
from codetune.score import rouge, sacre
from codetune.score.bleu import CODEXGLUE_CODE_TO_TEXT, CODEXGLUE_TEXT_TO_CODE, CONALA, SENTENCE, BleuVariant, Pair, bleu
from codetune.score.codebleu import LEXED, PUBLISHED, CodeBleu, Convention, count_pair, of_counts, parts_of, total


@dataclass(frozen=True, slots=True)
class TextScores:
    """What `score_text` found: a value per metric for the corpus, and per pair.

    `metrics` are corpus values: BLEU, CodeBLEU and chrF add counts over all pairs, the rest are means. `samples` holds one
    dict per pair, in order, with the same names but `sentence_bleu` for `bleu`. `parts` has CodeBLEU's four parts per convention.
    """

    metrics: dict[str, float]
    samples: tuple[dict[str, float], ...]
    signatures: dict[str, str]
    parts: dict[str, CodeBleu]


@dataclass(frozen=True, slots=True)
class _Column:
    corpus: float
    samples: list[float]
    signatures: dict[str, str]
    sample_name: str
    parts: dict[str, CodeBleu] = field(default_factory=dict)


def score_text(pairs: Sequence[Pair], metrics: Sequence[str] | None = None) -> TextScores:
    """Score (completion, references) pairs under all metrics of `METRICS`, or the ones named, those of `CONVENTIONS` included.

    Of several references the best counts, unless the signature says otherwise. Raises UserError for an unknown metric, no
    pair, or a pair without a reference.
    """
    names, known = list(METRICS if metrics is None else dict.fromkeys(metrics)), METRICS | CONVENTIONS
    for name in names:
        if name not in known:
            raise UserError(f"unknown text metric {name!r}: {nearest(name, known)}")
    if not pairs:
        raise UserError("no completions to score: the list of (completion, references) is empty")
    for index, (_, references) in enumerate(pairs):
        if isinstance(references, str) or not references:
            raise UserError(f"completion {index} has no list of references: text metrics need at least one reference each")
    columns = {name: known[name](pairs) for name in names}
    return TextScores(
        metrics={name: column.corpus for name, column in columns.items()},
        samples=tuple({column.sample_name: column.samples[row] for column in columns.values()} for row in range(len(pairs))),
        signatures={name: text for column in columns.values() for name, text in column.signatures.items()},
        parts={name: parts for column in columns.values() for name, parts in column.parts.items()},
    )


def normalise(code: str) -> str:
    """The code with line ends as \\n, no blank lines, no common indentation, and other runs of white space as one space.

    Indentation within the code stays, because it is syntax.
    """
    lines = textwrap.dedent(code.expandtabs(4)).splitlines()
    return "\n".join(line[: len(line) - len(line.lstrip())] + " ".join(line.split()) for line in lines if line.strip())


def exact_match(completion: str, references: Sequence[str]) -> float:
    """1.0 if the completion equals a reference after `normalise`, else 0.0; an empty completion matches nothing."""
    own = normalise(completion)
    return float(bool(own) and any(own == normalise(reference) for reference in references))


def levenshtein(a: str, b: str) -> int:
    """Insertions, deletions and substitutions of characters between two texts (Myers 1999 and Hyyrö 2003, bit-parallel)."""
    if not a:
        return len(b)
    places: dict[str, int] = {}
    for index, char in enumerate(a):
        places[char] = places.get(char, 0) | 1 << index
    full, last = (1 << len(a)) - 1, 1 << len(a) - 1
    plus, minus, distance = full, 0, len(a)  # columns where the distance grows, where it shrinks, and its last value
    for char in b:
        equal = places.get(char, 0)
        diagonal = ((equal & plus) + plus ^ plus) | equal | minus
        right_plus = minus | full & ~(diagonal | plus)
        right_minus = plus & diagonal
        distance += bool(right_plus & last) - bool(right_minus & last)
        right_plus, right_minus = right_plus << 1 | 1, right_minus << 1
        plus = (right_minus | ~(diagonal | right_plus)) & full
        minus = right_plus & diagonal & full
    return distance


def edit_similarity(completion: str, references: Sequence[str]) -> float:
    """1 - Levenshtein distance / longer length, over characters without white space at the ends, against the best reference."""
    own = completion.strip()
    if not own:
        return 0.0
    others = [reference.strip() for reference in references]
    return max(1 - levenshtein(own, other) / max(len(own), len(other)) for other in others)


def syntax_valid(completion: str) -> bool:
    """Whether the text parses as a Python module with at least one statement, under the Python that runs codetune.

    It is parsed as it stands and never run: an indented first line, a null byte, or nesting beyond the parser's limits is invalid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as an invalid escape sequence
        try:
            return bool(ast.parse(completion).body)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            return False


def _bleu(pairs: Sequence[Pair]) -> _Column:
    counts = CONALA.counts(pairs)
    signatures = {"bleu": CONALA.signature, "sentence_bleu": SENTENCE.signature}
    return _Column(float(CONALA.score(counts.sum(axis=0))), SENTENCE.score(counts).tolist(), signatures, "sentence_bleu")


def _codebleu(pairs: Sequence[Pair], convention: Convention) -> _Column:
    counts = np.array([count_pair(completion, references, convention) for completion, references in pairs])
    corpus, samples = of_counts(counts.sum(axis=0), convention), total(parts_of(counts), convention).tolist()
    return _Column(corpus.total, samples, {convention.name: convention.signature}, convention.name, {convention.name: corpus})


def _sacre(name: sacre.Name) -> Callable[[Sequence[Pair]], _Column]:
    def column(pairs: Sequence[Pair]) -> _Column:
        samples = [sacre.sentence_score(name, completion, references) for completion, references in pairs]
        return _Column(sacre.corpus_score(name, pairs), samples, {name: sacre.signature(name)}, name)

    return column


def _variant(name: str, variant: BleuVariant) -> Callable[[Sequence[Pair]], _Column]:
    def column(pairs: Sequence[Pair]) -> _Column:
        samples: list[float] = variant.score(variant.counts(pairs)).tolist()
        return _Column(bleu(pairs, variant), samples, {name: variant.signature}, name)

    return column


def _mean(name: str, signature: str, score: Callable[[str, Sequence[str]], float]) -> Callable[[Sequence[Pair]], _Column]:
    """A metric whose corpus value is the mean over the pairs."""

    def column(pairs: Sequence[Pair]) -> _Column:
        samples = [float(score(completion, references)) for completion, references in pairs]
        return _Column(sum(samples) / len(samples), samples, {name: signature}, name)

    return column


_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

METRICS: dict[str, Callable[[Sequence[Pair]], _Column]] = {
    "bleu": _bleu,
    "codebleu": lambda pairs: _codebleu(pairs, PUBLISHED),
    "codebleu_lexed": lambda pairs: _codebleu(pairs, LEXED),
    "rouge_l": _mean("rouge_l", rouge.SIGNATURE, rouge.rouge_l),
    "chrf": _sacre("chrf"),
    "exact_match": _mean("exact_match", "exact-match|space:normalised but indentation|refs:any of|empty:0", exact_match),
    "edit_similarity": _mean(
        "edit_similarity", "edit-similarity|1 - levenshtein / longer|chars|space:ends stripped|refs:best of|empty:0", edit_similarity
    ),
    "syntax_valid": _mean(
        "syntax_valid", f"syntax-valid|ast.parse of Python {_PYTHON}|at least one statement|empty:0", lambda text, _: syntax_valid(text)
    ),
}

# BLEU as others publish it, computed only where it is asked for: numbers to compare with theirs.
CONVENTIONS: dict[str, Callable[[Sequence[Pair]], _Column]] = {
    "bleu_13a": _sacre("bleu_13a"),
    "bleu_whitespace": _sacre("bleu_whitespace"),
    "bleu_codexglue_code": _variant("bleu_codexglue_code", CODEXGLUE_TEXT_TO_CODE),
    "bleu_codexglue_text": _variant("bleu_codexglue_text", CODEXGLUE_CODE_TO_TEXT),
}
