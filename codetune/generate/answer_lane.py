"""A lane for encoder-decoder models: every row's prompt is encoded once, and its answer is written by itself, beside the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from codetune.generate.cache import PreallocatedCache
from codetune.generate.lane import Lane, Row
from codetune.generate.live import Piece
from codetune.models.seq2seq import padded_prompts
from codetune.models.several import Tree, Voice


@dataclass(slots=True)
class _Encoded:
    """A row's prompt as its answer looks at it, and the keys and values of both attentions."""

    states: torch.Tensor
    mask: torch.Tensor
    cache: Any


class AnswerLane(Lane):
    """Rows join, step and leave as in `Lane`. One pass a row: an answer is what it is alone because it is alone."""

    def __init__(self, tree: Tree, voice: Voice) -> None:
        super().__init__(tree, voice)
        self._encoded: dict[int, _Encoded] = {}

    def join(self, rows: Sequence[Row]) -> list[tuple[Row, Piece]]:
        first = len(self.rows)
        starts = self.family.marks.before_answer
        hidden = []
        for row in rows:
            self._encoded[id(row)] = self._encode(row)
            hidden.append(self._decode(row, starts))
        self.rows += rows
        return self._choose(first, torch.cat(hidden))

    def step(self) -> list[tuple[Row, Piece]]:
        return self._choose(0, torch.cat([self._decode(row, row.ids[-1:]) for row in self.rows]))

    def leave(self, gone: Sequence[Row]) -> None:
        for row in gone:
            self.rows.remove(row)
            del self._encoded[id(row)]

    def clear(self) -> None:
        super().clear()
        self._encoded.clear()

    def _encode(self, row: Row) -> _Encoded:
        self._say_whose([row])
        ids, mask = padded_prompts([row.prompt], self.family, self.device)
        states = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        own = PreallocatedCache(self.family.num_layers, len(self.family.marks.before_answer) + row.limit)
        return _Encoded(states, mask, EncoderDecoderCache(own, DynamicCache()))

    def _decode(self, row: Row, tokens: Sequence[int]) -> torch.Tensor:
        """The last hidden state, [1, hidden size]."""
        self._say_whose([row])
        prompt = self._encoded[id(row)]
        out = self.model.get_decoder()(
            input_ids=torch.tensor([list(tokens)], device=self.device), encoder_hidden_states=prompt.states,
            encoder_attention_mask=prompt.mask, past_key_values=prompt.cache, use_cache=True,
        )  # fmt: skip
        last: torch.Tensor = out.last_hidden_state[:, -1]
        return last
