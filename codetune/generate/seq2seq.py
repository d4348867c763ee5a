"""Generation from encoder-decoder models: prompts are encoded once, and all answers start at the decoder's first position.

So a batch needs no padding but that of its prompts, which is on the right and masked: an answer is the same alone and in any batch.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from codetune.config import DecodingConfig
from codetune.generate.cache import PreallocatedCache
from codetune.generate.sampling import choose
from codetune.generate.sequences import Growing, take
from codetune.methods import Adapted
from codetune.models.forward import logits_of
from codetune.models.load import LoadedModel
from codetune.models.seq2seq import padded_prompts


class AnswerBatch:
    """Sequences that are generated together: their encoded prompts, and the keys and values of both attentions."""

    def __init__(self, loaded: LoadedModel, adapted: Adapted, sequences: list[Growing], decoding: DecodingConfig) -> None:
        self.loaded, self.adapted, self.decoding = loaded, adapted, decoding
        self.live = sequences
        self.device = adapted.model.device
        self.start = loaded.family.marks.before_answer
        self.cache = PreallocatedCache(loaded.family.num_layers, len(self.start) + max(one.limit for one in sequences))
        self.crossed = DynamicCache()  # keys and values of the prompts, made in the first step

    def run(self) -> None:
        self._encode()
        tokens = torch.tensor([self.start] * len(self.live), device=self.device)
        both = EncoderDecoderCache(self.cache, self.crossed)
        decoder = self.adapted.model.get_decoder()
        while self.live:
            out = decoder(
                input_ids=tokens, encoder_hidden_states=self.encoded, encoder_attention_mask=self.mask, past_key_values=both, use_cache=True
            )
            logits = logits_of(self.adapted.model, out.last_hidden_state[:, -1])
            chosen = choose(logits, self.decoding, [one.random for one in self.live])
            rows = take(self.live, chosen.tolist(), self.loaded)
            if len(rows) < len(self.live):
                self._keep(rows)
                chosen = chosen[rows]
            tokens = chosen[:, None]

    def _encode(self) -> None:
        """Every prompt once, however many answers it gets."""
        prompts = list(dict.fromkeys(tuple(one.prompt) for one in self.live))
        ids, mask = padded_prompts(prompts, self.loaded.family, self.device)
        encoded = self.adapted.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        rows = torch.tensor([prompts.index(tuple(one.prompt)) for one in self.live], device=self.device)
        self.encoded, self.mask = encoded[rows], mask[rows]

    def _keep(self, rows: list[int]) -> None:
        """Go on with these rows alone."""
        self.live = [self.live[row] for row in rows]
        if rows:
            kept = torch.tensor(rows, device=self.device)
            self.encoded, self.mask = self.encoded[kept], self.mask[kept]
            self.cache.keep_rows(kept)
            self.crossed.batch_select_indices(kept)
