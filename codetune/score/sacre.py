"""What sacrebleu computes: chrF (Popović 2015), the F2 of character 1- to 6-grams without white space, and BLEU by its rules."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

from codetune.score.bleu import Pair

Name = Literal["chrf", "bleu_13a", "bleu_whitespace"]
_TOKENISERS = {"bleu_13a": "13a", "bleu_whitespace": "none"}


@functools.cache
def _metric(name: Name, sentence: bool = False) -> Any:
    # sacrebleu takes a tenth of a second to import; scoring by execution alone does without it.
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return CHRF() if name == "chrf" else BLEU(tokenize=_TOKENISERS[name], effective_order=sentence, force=True)


@functools.cache
def signature(name: Name) -> str:
    """sacrebleu's own settings and version."""
    import sacrebleu

    if name == "chrf":
        return f"chrf2|chars:6|words:0|space:no|case:mixed|eff:yes|refs:best of|sacrebleu-{sacrebleu.__version__}|scale:0..1"
    return f"bleu-4|tok:{_TOKENISERS[name]}|smooth:exp|case:mixed|level:corpus|sacrebleu-{sacrebleu.__version__}|scale:0..1"


def corpus_score(name: Name, pairs: Sequence[Pair]) -> float:
    """The metric of a corpus in 0..1: chrF against the best reference of each, BLEU against all of them."""
    width = max(len(references) for _, references in pairs)
    # sacrebleu wants equally many references for all; neither metric changes when one of several is repeated.
    streams = [[references[min(index, len(references) - 1)] for _, references in pairs] for index in range(width)]
    return float(_metric(name).corpus_score([completion for completion, _ in pairs], streams).score) / 100


def sentence_score(name: Name, completion: str, references: Sequence[str]) -> float:
    """The metric of one completion in 0..1; BLEU over the orders that the completion has."""
    return float(_metric(name, sentence=True).sentence_score(completion, list(references)).score) / 100
