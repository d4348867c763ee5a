"""A few token ids on which the logits of small models are compared."""

from __future__ import annotations

from codetune.batches import Batch
from codetune.data.tokenise import join
from codetune.models.load import TextTokenizer
from codetune.train.checks import probe_batch

TEXTS = ("def add(a, b):\n    return a + b\n", "Reverse the words of a sentence.\n")


def probe(tokenizer: TextTokenizer) -> Batch:
    return probe_batch(join([tokenizer.encode(text, with_bos=True) for text in TEXTS], [0, 0]))
