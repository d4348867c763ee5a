"""Loss on text that was not trained on, in nats per token and in bits per byte: these are comparable between tokenizers and models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache

from codetune.batches import collate, make_rows
from codetune.config import Packing
from codetune.data.tokenise import TokenisedExamples, collect
from codetune.methods import Adapted, SoftPrompt
from codetune.models.attention import PROVED
from codetune.models.families import Family
from codetune.models.forward import as_run, summed_loss
from codetune.models.load import TextTokenizer

_WORTH_SHARING = 32  # tokens
_AT_ONCE = 256  # examples that are decoded in one call


@torch.no_grad()
def mean_loss(adapted: Adapted, family: Family, examples: TokenisedExamples, rows_at_once: int = 4) -> float:
    """Nats per supervised token, in the precision of the weights as they are. Packed exactly, where the model is no encoder-decoder.

    What all examples begin with (worked examples in a prompt, say) is run once.
    """
    adapted.root.eval()
    if (shared := _shared(adapted, examples)) >= _WORTH_SHARING:
        adapted, examples = _begun(adapted, examples, shared)
    packing: Packing = "padded" if family.encoder_decoder else "exact"
    rows = make_rows(examples, packing, int(examples.lengths.max()), range(len(examples)))
    total, count = 0.0, 0
    for at in range(0, len(rows), rows_at_once):
        batch = collate(examples, rows[at : at + rows_at_once], packing)
        total += float(summed_loss(adapted, family, as_run(adapted, family, batch).to(adapted.model.device)))
        count += batch.num_targets
    return total / max(1, count)


@dataclass(slots=True)
class _Begun(Adapted):
    """A model that has read a beginning: its keys and values stand where prefix-tuning's do."""

    read: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()

    def virtual_keys_values(self, kv_heads: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(self.read)


def _shared(adapted: Adapted, examples: TokenisedExamples) -> int:
    """How many tokens all examples begin with, before one of each that is not predicted; 0 where virtual tokens have their place, or
    where keys and values of another's text are not proved to do (`models.attention.PROVED`).
    """
    if adapted.soft_prompt is not SoftPrompt.NONE or adapted.model.config.model_type not in PROVED:
        return 0
    every = [examples.example(index) for index in range(len(examples))]
    first, last = min(every, key=list), max(every, key=list)
    most = min(len(first), len(last), *(int(np.argmax(examples.targets(index))) for index in range(len(examples)))) - 1
    same = first[: max(0, most)] == last[: max(0, most)]
    return int(np.argmin(np.append(same, False)))


def _begun(adapted: Adapted, examples: TokenisedExamples, shared: int) -> tuple[Adapted, TokenisedExamples]:
    """The model after the examples' first tokens, and what follows them."""
    cache = DynamicCache()
    ids = torch.as_tensor(examples.example(0)[:shared].astype(np.int64), device=adapted.model.device)
    getattr(adapted.model, adapted.model.base_model_prefix)(input_ids=ids[None], past_key_values=cache, use_cache=True)
    read = [(layer.keys[0], layer.values[0]) for layer in cache.layers]
    begun = _Begun(adapted.model, adapted.method, adapted.peft, SoftPrompt.KEYS_VALUES, shared, read=read)
    rest = ((examples.example(index)[shared:], examples.targets(index)[shared:]) for index in range(len(examples)))
    return begun, collect((ids.tolist(), counts.tolist()) for ids, counts in rest)


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
