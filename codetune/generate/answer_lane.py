"""A lane for encoder-decoder models: prompts are encoded once, and all answers start at the decoder's first position.

Rows that joined together are run together, since their answers are equally long: T5's decoder has one position for all rows of a pass.
Nothing is padded but prompts, on the right and masked, so an answer is the same alone and beside any others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from codetune.generate.cache import PreallocatedCache
from codetune.generate.lane import Lane, Row
from codetune.generate.live import Piece
from codetune.models.seq2seq import padded_prompts
from codetune.models.several import Tree, Voice

_COMPACT_SHARE = 0.75  # rows that have left are run on until fewer than this share of a cohort go on


class AnswerLane(Lane):
    """Rows join, step and leave as in `Lane`."""

    def __init__(self, tree: Tree, voice: Voice) -> None:
        super().__init__(tree, voice)
        self._cohorts: list[_Cohort] = []

    def take(self, rows: int, columns: int) -> None:
        """Cohorts take what they need."""

    def join(self, rows: Sequence[Row], more: bool = False) -> list[tuple[Row, Piece]]:
        first = len(self.rows)
        self._cohorts.append(_Cohort(self, rows))
        self.rows += rows
        return self._choose(first, self._decode(self._cohorts[-1], [self.family.marks.before_answer] * len(rows)))

    def step(self) -> list[tuple[Row, Piece]]:
        hidden = [self._decode(cohort, [row.ids[-1:] for row in cohort.rows]) for cohort in self._cohorts]
        return self._choose(0, torch.cat(hidden))

    def leave(self, gone: Sequence[Row]) -> None:
        left = {id(row) for row in gone}
        if left:
            for cohort in self._cohorts:
                cohort.leave(left)
            self._cohorts = [cohort for cohort in self._cohorts if cohort.going]
            self.rows = [row for row in self.rows if id(row) not in left]

    def clear(self) -> None:
        super().clear()
        self._cohorts.clear()

    def _decode(self, cohort: _Cohort, tokens: Sequence[Sequence[int]]) -> torch.Tensor:
        """The last hidden states of the rows that go on, [rows, hidden size]."""
        self._say_whose(cohort.rows)
        out = self.model.get_decoder()(
            input_ids=torch.tensor(tokens, device=self.device), encoder_hidden_states=cohort.states, encoder_attention_mask=cohort.mask,
            past_key_values=cohort.cache, use_cache=True,
        )  # fmt: skip
        last: torch.Tensor = out.last_hidden_state[:, -1]
        return last if len(cohort.going) == len(cohort.rows) else last[cohort.going]


class _Cohort:
    """Rows that joined together, their prompts as their answers look at them, and the keys and values of both attentions."""

    def __init__(self, lane: AnswerLane, rows: Sequence[Row]) -> None:
        self.rows = list(rows)
        self.going = list(range(len(rows)))  # those of `rows` that have not left
        unique: dict[tuple[str, tuple[int, ...]], Row] = {}
        for row in rows:
            unique.setdefault(row.question, row)
        lane._say_whose(list(unique.values()))
        ids, mask = padded_prompts([list(row.prompt) for row in unique.values()], lane.family, lane.device)
        states = lane.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        places = {question: place for place, question in enumerate(unique)}
        order = torch.tensor([places[row.question] for row in rows], device=lane.device)
        self.states, self.mask = states[order], mask[order]
        longest = len(lane.family.marks.before_answer) + max(row.limit for row in rows)
        self.cache = EncoderDecoderCache(PreallocatedCache(lane.family.num_layers, longest), DynamicCache())

    def leave(self, gone: set[int]) -> None:
        """Rows by identity; they are taken out of memory when there are enough of them."""
        self.going = [place for place in self.going if id(self.rows[place]) not in gone]
        if self.going and len(self.going) <= _COMPACT_SHARE * len(self.rows):
            kept = torch.tensor(self.going, device=self.states.device)
            self.rows = [self.rows[place] for place in self.going]
            self.going = list(range(len(self.rows)))
            self.states, self.mask = self.states[kept], self.mask[kept]
            self.cache.self_attention_cache.keep_rows(kept)
            self.cache.cross_attention_cache.batch_select_indices(kept)
