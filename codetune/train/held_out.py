"""Loss on text that was not trained on, in nats per token and in bits per byte: these are comparable between tokenizers and models."""

from __future__ import annotations

import math

import numpy as np
import torch

from codetune.batches import collate, make_rows
from codetune.config import Packing
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.forward import summed_loss
from codetune.models.load import TextTokenizer

_AT_ONCE = 256  # examples that are decoded in one call


@torch.no_grad()
def mean_loss(adapted: Adapted, family: Family, examples: TokenisedExamples, rows_at_once: int = 4) -> float:
    """Nats per supervised token, in the precision of the weights as they are. Packed exactly, where the model is no encoder-decoder."""
    adapted.root.eval()
    packing: Packing = "padded" if family.encoder_decoder else "exact"
    rows = make_rows(examples, packing, int(examples.lengths.max()), range(len(examples)))
    total, count = 0.0, 0
    for at in range(0, len(rows), rows_at_once):
        batch = collate(examples, rows[at : at + rows_at_once], packing)
        total += float(summed_loss(adapted, family, batch.to(adapted.model.device)))
        count += batch.num_targets
    return total / max(1, count)


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
