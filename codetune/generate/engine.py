"""codetune's own engine: batched, cached generation from any adapted model, exact for soft prompts.

A batch is [virtual tokens][shared text][PAD][text]: what all its prompts begin with (worked examples, say) is run once. Positions and
masks are our own, so that a prompt's greedy output is the same alone and in any batch (in float32 and float64; in bf16 rounding may
flip a token). Encoder-decoder models have batches of another kind (`generate.seq2seq`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from codetune.config import DecodingConfig
from codetune.data.encode import encode_prompt
from codetune.generate.cache import PreallocatedCache
from codetune.generate.request import Generated, Report, Request
from codetune.generate.sampling import choose
from codetune.generate.seq2seq import AnswerBatch
from codetune.generate.sequences import Growing, batches, result, started, take
from codetune.methods import Adapted, SoftPrompt
from codetune.models.forward import as_taken, logits_of, prefix_cache
from codetune.models.load import LoadedModel
from codetune.models.seq2seq import room_for_answer


class OwnEngine:
    """Generates from a model in memory."""

    name = "own"

    def __init__(self, loaded: LoadedModel, adapted: Adapted) -> None:
        self.loaded, self.adapted = loaded, adapted

    def room(self, request: Request) -> int:
        """Positions less virtual tokens and prompt, or of the decoder: with one or more it is answered, in so many tokens at most."""
        return self._room(self._encode(request))

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        """Longest prompts first, so that the first batch shows whether memory suffices; one too long for the model gets no text.

        Batches end where a request does, so that going on after whole batches gives the batches that would have come.
        """
        self.adapted.root.eval()
        prompts = [self._encode(request) for request in requests]
        sequences = [started(each, ids, self._room(ids), decoding) for each, ids in zip(requests, prompts, strict=True)]
        too_long = [one for alike in sequences for one in alike if one.finish]
        kind = AnswerBatch if self.loaded.family.encoder_decoder else _Batch
        tokenizer = self.loaded.tokenizer
        if too_long and report:
            report([result(one, tokenizer) for one in too_long])
        for batch in batches([alike for alike in sequences if not alike[0].finish], decoding.batch_size):
            for at in range(0, len(batch), decoding.batch_size):
                kind(self.loaded, self.adapted, batch[at : at + decoding.batch_size], decoding).run()
            if report:
                report([result(one, tokenizer) for one in batch])
        return [result(one, tokenizer) for alike in sequences for one in alike]

    def _encode(self, request: Request) -> list[int]:
        return encode_prompt(request.prompt, self.loaded.tokenizer, request.has_special)

    def _room(self, prompt: list[int]) -> int:
        family = self.loaded.family
        if family.encoder_decoder:
            return room_for_answer(family, prompt)
        return family.max_positions - self.adapted.num_virtual_tokens - len(prompt)


class _Batch:
    """Sequences that are generated together: their cache, which of its columns each row may see, and their positions."""

    def __init__(self, loaded: LoadedModel, adapted: Adapted, sequences: list[Growing], decoding: DecodingConfig) -> None:
        self.loaded, self.adapted, self.decoding = loaded, adapted, decoding
        self.live = sequences
        self.device = adapted.model.device
        self.virtual = adapted.num_virtual_tokens
        self.shared = _shared([one.prompt for one in sequences])
        self.lead = self.virtual + self.shared  # columns that are the same for every row
        self.width = max(len(one.prompt) for one in sequences) - self.shared
        capacity = self.lead + self.width + max(one.limit for one in sequences)
        self.cache = PreallocatedCache(loaded.family.num_layers, capacity)
        rows = len(sequences)
        self.visible = torch.zeros(rows, capacity, dtype=torch.bool, device=self.device)
        self.column_positions = torch.zeros(rows, capacity, dtype=torch.long, device=self.device)
        self.next_positions = torch.tensor([self.virtual + len(one.prompt) for one in sequences], device=self.device)
        self.columns = 0  # filled so far

    def run(self) -> None:
        hidden = self._prompts()
        while True:
            chosen = choose(logits_of(self.adapted.model, hidden), self.decoding, [one.random for one in self.live])
            chosen = self._take(chosen)
            if not self.live:
                return
            hidden = self._next(chosen)

    def _prompts(self) -> torch.Tensor:
        """Run all prompts; the last hidden state of each, [rows, hidden size]."""
        self._run_lead()
        self.columns = self.lead + self.width
        ids = torch.zeros(len(self.live), self.width, dtype=torch.long, device=self.device)
        for row, one in enumerate(self.live):
            own = torch.tensor(one.prompt[self.shared :], device=self.device)
            ids[row, self.width - len(own) :] = own
            used = slice(self.columns - len(own), self.columns)
            self.visible[row, used] = True
            self.column_positions[row, used] = torch.arange(self.lead, self.lead + len(own), device=self.device)
        positions = self.column_positions[:, self.lead : self.columns]
        itself = torch.eye(self.columns, dtype=torch.bool, device=self.device)[self.lead :]  # padding sees itself: no empty softmax
        return self._decode((self._seen(positions) & self._before(self.lead)) | itself, positions, input_ids=ids)

    def _run_lead(self) -> None:
        """Run what all rows begin with in one row, and give it to all."""
        model, soft = self.adapted.model, self.adapted.soft_prompt
        self.columns = self.lead
        self.visible[:, : self.lead] = True
        self.column_positions[:, : self.lead] = torch.arange(self.lead, device=self.device)
        shared = torch.tensor(self.live[0].prompt[: self.shared], dtype=torch.long, device=self.device)
        embedded = model.get_input_embeddings()(shared)
        start = 0
        if soft is SoftPrompt.KEYS_VALUES:
            start = self.virtual
            for number, layer in enumerate(prefix_cache(self.adapted, self.loaded.family, 1).layers):
                self.cache.update(layer.keys, layer.values, number)
        elif soft is SoftPrompt.EMBEDDINGS:
            embedded = torch.cat([self.adapted.virtual_embeddings().to(embedded.dtype), embedded])
        if start < self.lead:
            positions = self.column_positions[:1, start : self.lead]
            self._decode(self._seen(positions)[:1] & self._before(start), positions, inputs_embeds=embedded[None])
        if self.lead:
            self.cache.repeat_rows(len(self.live))

    def _take(self, chosen: torch.Tensor) -> torch.Tensor:
        """Give every live row its token, and drop those that are done when enough are. Returns what goes on."""
        going = take(self.live, chosen.tolist(), self.loaded)
        if len(going) == len(self.live):
            return chosen
        rows = torch.tensor(going, dtype=torch.long, device=self.device)
        self.live = [self.live[row] for row in going]
        self.visible, self.column_positions = self.visible[rows], self.column_positions[rows]
        self.next_positions = self.next_positions[rows]
        if going:
            self.cache.keep_rows(rows)
        return chosen[rows]

    def _next(self, chosen: torch.Tensor) -> torch.Tensor:
        """Run one new token per row."""
        column = self.columns
        self.columns += 1
        self.visible[:, column] = True
        self.column_positions[:, column] = self.next_positions
        positions = self.next_positions[:, None]
        self.next_positions = self.next_positions + 1
        return self._decode(self._seen(positions), positions, input_ids=chosen[:, None])

    def _seen(self, query_positions: torch.Tensor) -> torch.Tensor:
        """Columns each query may see, [rows, queries, columns], causality aside."""
        seen = self.visible[:, None, : self.columns].expand(-1, query_positions.shape[1], -1)
        window = self.loaded.family.sliding_window
        if window is None:
            return seen
        return seen & (query_positions[:, :, None] - self.column_positions[:, None, : self.columns] < window)

    def _before(self, start: int) -> torch.Tensor:
        """Columns up to each of those from `start` on, [columns - start, columns]."""
        return torch.ones(self.columns - start, self.columns, dtype=torch.bool, device=self.device).tril(start)

    def _decode(self, mask: torch.Tensor, positions: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        model = self.adapted.model
        decoder = getattr(model, model.base_model_prefix)
        limit = self.loaded.family.max_positions - 1  # a row that has ended may run past it until it is dropped
        inputs |= {"attention_mask": as_taken(mask[:, None], model), "position_ids": positions.clamp(max=limit)}
        out = decoder(past_key_values=self.cache, use_cache=True, **inputs)
        last: torch.Tensor = out.last_hidden_state[:, -1]
        return last


def _shared(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with, short of a whole prompt: every row needs one of its own."""
    first, last = min(prompts), max(prompts)
    shortest = min(map(len, prompts)) - 1
    return next((at for at in range(shortest) if first[at] != last[at]), shortest)
