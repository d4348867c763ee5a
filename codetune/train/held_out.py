"""What training changed on held-out text, in bits per byte: comparable between tokenizers, and of any base model."""

from __future__ import annotations

import math

import numpy as np

from codetune.data.tokenise import TokenisedExamples
from codetune.models.load import TextTokenizer

_AT_ONCE = 256  # examples that are decoded in one call


def bits_per_byte(loss: float, examples: TokenisedExamples, tokenizer: TextTokenizer) -> float:
    """The mean loss in nats per supervised token, as bits per byte of the text that those tokens stand for.

    The bits of EOS count, though it stands for no text: knowing where a text ends is part of knowing it.
    """
    return loss * examples.supervised_tokens / math.log(2) / max(1, supervised_bytes(examples, tokenizer))


def supervised_bytes(examples: TokenisedExamples, tokenizer: TextTokenizer) -> int:
    """UTF-8 bytes of the text under the loss; a character that is torn apart at a span's edge counts as its replacement."""
    total = 0
    for first in range(0, len(examples), _AT_ONCE):
        spans = [span for index in range(first, min(len(examples), first + _AT_ONCE)) for span in _spans(examples, index)]
        texts = tokenizer.inner.batch_decode(spans, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        total += sum(len(text.encode()) for text in texts)
    return total


def _spans(examples: TokenisedExamples, index: int) -> list[list[int]]:
    """The runs of an example's tokens that count for the loss."""
    counts = examples.targets(index)
    edges = np.flatnonzero(np.diff(counts, prepend=False, append=False))
    ids = examples.example(index)
    return [ids[start:stop].tolist() for start, stop in zip(edges[::2], edges[1::2], strict=True)]
