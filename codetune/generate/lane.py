"""Rows that are run together through one tree of modules: they join between two steps, and leave when they have ended.

Each step runs one new token of every row. Columns of the cache are positions, so a row's numbers are the same alone and beside any others
(in float32 and float64; in bf16 rounding may flip a token).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from codetune.config import DecodingConfig
from codetune.generate.cache import PreallocatedCache
from codetune.generate.live import Piece, TokenLogprob
from codetune.generate.sampling import choose
from codetune.generate.slots import KeysValues, SlotCache
from codetune.generate.writing import Writing
from codetune.methods import SoftPrompt
from codetune.models.forward import as_taken, logits_of, prefix_cache
from codetune.models.several import Tree, Voice


@dataclass(slots=True, eq=False)
class Row:
    """One continuation under way."""

    voice: Voice
    index: int
    prompt: list[int]
    limit: int  # new tokens at most
    decoding: DecodingConfig
    random: np.random.Generator
    writing: Writing
    logprobs: int | None = None
    ids: list[int] = field(default_factory=list)
    finish: str = ""

    @property
    def length(self) -> int:
        """Columns that are filled when its last token has not been run yet."""
        return self.voice.virtual + len(self.prompt) + max(0, len(self.ids) - 1)


class Lane:
    """A tree's rows and their cache."""

    def __init__(self, tree: Tree, voice: Voice) -> None:
        self.tree, self.family, self.model = tree, voice.loaded.family, tree.model
        self.device = self.model.device
        self.rows: list[Row] = []
        self.cache = SlotCache(self.family.num_layers, self.family.max_positions)
        self._leads: dict[str, KeysValues] = {}

    def join(self, rows: Sequence[Row]) -> list[tuple[Row, Piece]]:
        """Run the prompts of new rows, equal ones once, and choose each row's first token."""
        unique: dict[tuple[str, tuple[int, ...]], list[Row]] = {}
        for row in rows:
            unique.setdefault((row.voice.name, tuple(row.prompt)), []).append(row)
        first = len(self.rows)
        firsts = [alike[0] for alike in unique.values()]
        hidden = self._prompts(firsts, first)
        self.rows += firsts
        order = list(range(len(firsts)))
        for number, alike in enumerate(unique.values()):
            for row in alike[1:]:
                self.cache.copy(first + number, len(self.rows), row.voice.virtual + len(row.prompt))
                self.rows.append(row)
                order.append(number)
        return self._choose(first, hidden[torch.tensor(order, device=hidden.device)])

    def step(self) -> list[tuple[Row, Piece]]:
        """Run every row's last token, and choose its next one."""
        rows = self.rows
        tokens = torch.tensor([[row.ids[-1]] for row in rows], device=self.device)
        positions = torch.tensor([[row.length] for row in rows], device=self.device)
        end = max(row.length for row in rows) + 1
        return self._choose(0, self._run(rows, 0, positions, end, input_ids=tokens)[:, -1])

    def leave(self, gone: Sequence[Row]) -> None:
        """These rows' places are free."""
        for row in gone:
            slot, last = self.rows.index(row), len(self.rows) - 1
            if slot != last:
                self.cache.copy(last, slot, self.rows[last].length)
                self.rows[slot] = self.rows[last]
            self.rows.pop()
        if not self.rows:
            self.cache.free()

    def clear(self) -> None:
        """All rows leave, whatever became of the cache."""
        self.rows.clear()
        self.cache.free()

    def _say_whose(self, rows: Sequence[Row]) -> None:
        """Before a pass of these rows: which adapters its layers apply."""
        if self.tree.mixture:
            self.tree.mixture.rows([row.voice.mixed for row in rows])

    def _prompts(self, rows: Sequence[Row], first: int) -> torch.Tensor:
        """The last hidden state of each prompt, [rows, hidden size]. Shorter ones are followed by columns that nobody sees."""
        for slot, row in enumerate(rows, first):
            if row.voice.soft:
                self.cache.fill(slot, self._lead(row.voice))
        width = max(len(row.prompt) for row in rows)
        starts = torch.tensor([row.voice.virtual for row in rows], device=self.device)
        lengths = torch.tensor([len(row.prompt) for row in rows], device=self.device)
        ids = torch.zeros(len(rows), width, dtype=torch.long, device=self.device)
        for number, row in enumerate(rows):
            ids[number, : len(row.prompt)] = torch.tensor(row.prompt, device=self.device)
        positions = starts[:, None] + torch.arange(width, device=self.device)
        end = min(max(row.voice.virtual for row in rows) + width, self.family.max_positions)
        hidden = self._run(rows, first, positions.clamp(max=end - 1), end, input_ids=ids)
        return hidden[torch.arange(len(rows), device=self.device), lengths - 1]

    def _run(self, rows: Sequence[Row], first: int, positions: torch.Tensor, end: int, **inputs: torch.Tensor) -> torch.Tensor:
        """The decoder's last hidden states, [rows, tokens, hidden size], of tokens at `positions` [rows, tokens], slots from `first` on."""
        self._say_whose(rows)
        self.cache.at(first, positions, end)
        seen = self._seen(positions, end)
        decoder = getattr(self.model, self.model.base_model_prefix)
        inputs |= {"attention_mask": as_taken(seen[:, None], self.model), "position_ids": positions}
        hidden: torch.Tensor = decoder(past_key_values=self.cache, use_cache=True, **inputs).last_hidden_state
        return hidden

    def _seen(self, positions: torch.Tensor, end: int) -> torch.Tensor:
        """Columns each query may see, [rows, tokens, end]."""
        columns = torch.arange(end, device=self.device)
        seen = columns <= positions[..., None]
        window = self.family.sliding_window
        return seen if window is None else seen & (positions[..., None] - columns < window)

    def _lead(self, voice: Voice) -> KeysValues:
        """The keys and values of a soft prompt, the same for every row, computed once."""
        if voice.name not in self._leads:
            soft = voice.soft
            assert soft is not None
            if soft.soft_prompt is SoftPrompt.KEYS_VALUES:
                self._leads[voice.name] = [(layer.keys[0], layer.values[0]) for layer in prefix_cache(soft, self.family, 1).layers]
            else:
                self._leads[voice.name] = self._run_virtual(voice)
        return self._leads[voice.name]

    def _run_virtual(self, voice: Voice) -> KeysValues:
        assert voice.soft is not None
        if self.tree.mixture:
            self.tree.mixture.rows([voice.mixed])
        embedded = voice.soft.virtual_embeddings().to(self.model.get_input_embeddings().weight.dtype)
        positions = torch.arange(voice.virtual, device=self.device)[None]
        cache = PreallocatedCache(self.family.num_layers, voice.virtual)
        mask = as_taken(self._seen(positions, voice.virtual)[:, None], self.model)
        decoder = getattr(self.model, self.model.base_model_prefix)
        decoder(inputs_embeds=embedded[None], attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        return [(layer.keys[0], layer.values[0]) for layer in cache.layers]

    def _choose(self, first: int, hidden: torch.Tensor) -> list[tuple[Row, Piece]]:
        """Every row from slot `first` on takes its token."""
        rows = self.rows[first:]
        self._say_whose(rows)
        logits = logits_of(self.model, hidden)
        chosen = _chosen(logits, rows)
        return [(row, self._take(row, token, logits[number])) for number, (row, token) in enumerate(zip(rows, chosen, strict=True))]

    def _take(self, row: Row, token: int, logits: torch.Tensor) -> Piece:
        row.ids.append(token)
        tokenizer = row.voice.loaded.tokenizer
        before = row.prompt if len(row.ids) < 5 else row.ids[-5:-1]
        likely = () if row.logprobs is None else (_likely(logits, token, row.logprobs, lambda one: tokenizer.decode_after(before, [one])),)
        if token in row.voice.loaded.stop_ids:
            row.finish = "eos"
            return Piece(row.index, row.writing.end(), row.finish, len(row.ids))
        text = row.writing.add(token)
        if row.writing.stopped:
            row.finish = "stop"
        elif len(row.ids) >= row.limit:
            row.finish, text = "length", text + row.writing.end()
            if row.writing.stopped:
                row.finish = "stop"
        return Piece(row.index, text, row.finish, len(row.ids), likely)


def _chosen(logits: torch.Tensor, rows: Sequence[Row]) -> list[int]:
    """Next token ids; rows of one temperature and top-p are chosen together."""
    alike: dict[tuple[float, float], list[int]] = {}
    for number, row in enumerate(rows):
        alike.setdefault((row.decoding.temperature, row.decoding.top_p), []).append(number)
    found = [0] * len(rows)
    for numbers in alike.values():
        part = logits if len(numbers) == len(rows) else logits[torch.tensor(numbers, device=logits.device)]
        tokens = choose(part, rows[numbers[0]].decoding, [rows[number].random for number in numbers]).tolist()
        for number, token in zip(numbers, tokens, strict=True):
            found[number] = token
    return found


def _likely(logits: torch.Tensor, token: int, count: int, text: Callable[[int], str]) -> TokenLogprob:
    logprobs = logits.float().log_softmax(-1)
    values, ids = logprobs.topk(min(count, logprobs.shape[-1]))
    top = tuple((text(one), value) for one, value in zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(text(token), float(logprobs[token]), top)
