"""chrF (Popović 2015), the F2 of character 1- to 6-grams without white space, as sacrebleu computes it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from codetune.score.bleu import Pair


@functools.cache
def _metric() -> Any:
    # sacrebleu takes a tenth of a second to import; scoring by execution alone does without it.
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


@functools.cache
def signature() -> str:
    """sacrebleu's own settings and version."""
    import sacrebleu

    return f"chrf2|chars:6|words:0|space:no|case:mixed|eff:yes|refs:best of|sacrebleu-{sacrebleu.__version__}|scale:0..1"


def chrf(pairs: Sequence[Pair]) -> float:
    """Corpus chrF in 0..1, each completion against the best of its references."""
    width = max(len(references) for _, references in pairs)
    # sacrebleu wants equally many references for all; the best of several does not change when one is repeated.
    streams = [[references[min(index, len(references) - 1)] for _, references in pairs] for index in range(width)]
    return float(_metric().corpus_score([completion for completion, _ in pairs], streams).score) / 100


def sentence_chrf(completion: str, references: Sequence[str]) -> float:
    """chrF in 0..1 of one completion."""
    return float(_metric().sentence_score(completion, list(references)).score) / 100
