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
from codetune.generate.waves import Waves, blocks
from codetune.generate.writing import Reader
from codetune.methods import SoftPrompt
from codetune.models.attention import BLOCKS, DOCUMENTS
from codetune.models.forward import as_taken, logits_of, prefix_cache
from codetune.models.machine import prefill_tokens
from codetune.models.several import Tree, Voice

Question = tuple[str, tuple[int, ...]]  # a voice's name and a prompt, or its beginning


@dataclass(slots=True, eq=False)
class Row:
    """One continuation under way."""

    voice: Voice
    index: int
    prompt: list[int]
    limit: int  # new tokens at most
    decoding: DecodingConfig
    random: np.random.Generator
    writing: Reader
    logprobs: int | None = None
    shared: int = 0  # tokens that all prompts of its voice begin with, run once for all
    ids: list[int] = field(default_factory=list)
    finish: str = ""
    ends: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self.voice.loaded.stop_ids

    @property
    def lead(self) -> int:
        """Columns that are the same for all rows of its voice."""
        return self.voice.virtual + self.shared

    @property
    def length(self) -> int:
        """Columns that are filled when its last token has not been run yet."""
        return self.voice.virtual + len(self.prompt) + max(0, len(self.ids) - 1)

    @property
    def question(self) -> Question:
        """Rows of one question need their prompt run once between them."""
        return self.voice.name, tuple(self.prompt)


def fits(rows: Sequence[Row], row: Row) -> bool:
    """Whether a row's prompt may be run in one pass with those of `rows`."""
    widest = max(len(one.prompt) - one.shared for one in (*rows, row))
    return not rows or widest * (len(rows) + 1) <= prefill_tokens(row.voice.tree.model.device.type)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A prompt that was run: its last hidden state, and its columns in every layer."""

    question: Question
    state: torch.Tensor
    columns: KeysValues


class Lane:
    """A tree's rows and their cache."""

    def __init__(self, tree: Tree, voice: Voice) -> None:
        self.tree, self.family, self.model = tree, voice.loaded.family, tree.model
        self.device = self.model.device
        self.rows: list[Row] = []
        self.cache = SlotCache(self.family.num_layers, self.family.max_positions)
        self._waves = Waves()
        self._leads: dict[Question, KeysValues] = {}
        self._kept: _Kept | None = None
        self._taken = False

    def take(self, rows: int, columns: int) -> None:
        """Have memory for so many rows of so many columns, where that is known before they come, and keep it between them."""
        self.cache.take(rows, columns)
        self._taken = True

    def join(self, rows: Sequence[Row], more: bool = False) -> list[tuple[Row, Piece]]:
        """Run the prompts of new rows, equal ones once, and choose each row's first token.

        `more` says that others with the last row's prompt will come later: it is not run again for them.
        """
        first, kept = len(self.rows), self._kept
        new: dict[Question, int] = {}  # the slots of those whose prompts are run
        for row in rows:
            if kept is None or row.question != kept.question:
                new.setdefault(row.question, first + len(new))
        origins = dict(zip(new.values(), (next(row for row in rows if row.question == question) for question in new), strict=True))
        self.rows += origins.values()
        states = {row.question: state for row, state in zip(origins.values(), self._prompts(first), strict=True)} if new else {}
        if kept is not None:
            states[kept.question] = kept.state
        ran = set(map(id, origins.values()))
        again = [row for row in rows if id(row) not in ran]
        self._begin_alike(again, new)
        self._kept = self._keep(rows[-1], states[rows[-1].question]) if more else None
        self._waves.join(len(rows))
        return self._choose(first, torch.stack([states[row.question] for row in self.rows[first:]]))

    def _begin_alike(self, rows: Sequence[Row], ran: dict[Question, int]) -> None:
        """Rows whose prompts are in slots already, or were kept."""
        start = len(self.rows)
        copied = [(ran[row.question], slot) for slot, row in enumerate(rows, start) if row.question in ran]
        filled = [slot for slot, row in enumerate(rows, start) if row.question not in ran]
        if copied:
            longest = max(rows[slot - start].length for _, slot in copied)
            self.cache.copy([origin for origin, _ in copied], [slot for _, slot in copied], longest)
        if filled and self._kept:
            self.cache.fill(filled, self._kept.columns)
        self.rows += rows

    def _keep(self, row: Row, state: torch.Tensor) -> _Kept:
        slot = next(slot for slot, one in enumerate(self.rows) if one is row)
        return _Kept(row.question, state, self.cache.columns_of(slot, row.length))

    def step(self) -> list[tuple[Row, Piece]]:
        """Run every row's last token, and choose its next one."""
        rows = self.rows
        lengths = [row.length for row in rows]
        tokens = torch.tensor([row.ids[-1] for row in rows], device=self.device)[:, None]
        positions = torch.tensor(lengths, device=self.device)[:, None]
        hidden = self._run(rows, 0, positions, max(lengths) + 1, blocks(lengths), input_ids=tokens)
        return self._choose(0, hidden[:, -1])

    def leave(self, gone: Sequence[Row]) -> None:
        """These rows' places are free."""
        if not gone:
            return
        left = {id(row) for row in gone}
        moves = self._waves.leave([id(row) in left for row in self.rows])
        if moves:
            slots, to = [slot for slot, _ in moves], [place for _, place in moves]
            self.cache.copy(slots, to, max(self.rows[slot].length for slot in slots))
            for row, place in zip([self.rows[slot] for slot in slots], to, strict=True):
                self.rows[place] = row
        del self.rows[len(self._waves) :]
        if not self.rows and not self._taken:
            self.cache.free()

    def clear(self) -> None:
        """All rows leave, whatever became of the cache."""
        self.rows.clear()
        self._waves, self._kept = Waves(), None
        self.cache.free()

    def _say_whose(self, rows: Sequence[Row]) -> None:
        """Before a pass of these rows: which adapters its layers apply."""
        if self.tree.mixture:
            self.tree.mixture.rows([row.voice.mixed for row in rows])

    def _prompts(self, first: int) -> torch.Tensor:
        """Run those in slots from `first` on; their last hidden states, [rows, hidden size].

        Shorter ones are followed by columns that nobody sees.
        """
        rows = self.rows[first:]
        self._fill(rows, first)
        own = [row.prompt[row.shared :] for row in rows]
        width = max(map(len, own))
        ids = torch.tensor([[*tokens, *([0] * (width - len(tokens)))] for tokens in own], device=self.device)
        starts, lengths = torch.tensor([[row.lead for row in rows], [len(tokens) for tokens in own]], device=self.device)
        positions = starts[:, None] + torch.arange(width, device=self.device)
        end = min(max(row.lead for row in rows) + width, self.family.max_positions)
        hidden = self._run(rows, first, positions.clamp(max=end - 1), end, None, input_ids=ids)
        return hidden[torch.arange(len(rows), device=self.device), lengths - 1]

    def _fill(self, rows: Sequence[Row], first: int) -> None:
        """What a voice's rows all begin with."""
        alike: dict[Question, list[int]] = {}
        for slot, row in enumerate(rows, first):
            if row.lead:
                alike.setdefault((row.voice.name, tuple(row.prompt[: row.shared])), []).append(slot)
        for (_, shared), slots in alike.items():
            self.cache.fill(slots, self._lead(rows[slots[0] - first].voice, shared))

    def _run(
        self, rows: Sequence[Row], first: int, positions: torch.Tensor, end: int, parts: Sequence[tuple[int, int, int]] | None,
        **inputs: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """The decoder's last hidden states, [rows, tokens, hidden size], of tokens at `positions` [rows, tokens], slots from `first` on."""
        self._say_whose(rows)
        same = parts is None and len({row.lead for row in rows}) == 1  # prompts that all begin at one column
        self.cache.at(first, positions, end, rows[0].lead if same else None)
        seen = as_taken(self._seen(positions, end)[:, None], self.model)
        more = {BLOCKS: parts} if parts and len(parts) > 1 and self.model.config._attn_implementation == DOCUMENTS else {}
        decoder = getattr(self.model, self.model.base_model_prefix)
        out = decoder(past_key_values=self.cache, use_cache=True, attention_mask=seen, position_ids=positions, **inputs, **more)
        hidden: torch.Tensor = out.last_hidden_state
        return hidden

    def _seen(self, positions: torch.Tensor, end: int) -> torch.Tensor:
        """Columns each query may see, [rows, tokens, end]."""
        columns = torch.arange(end, device=self.device)
        seen = columns <= positions[..., None]
        window = self.family.sliding_window
        return seen if window is None else seen & (positions[..., None] - columns < window)

    def _lead(self, voice: Voice, shared: tuple[int, ...]) -> KeysValues:
        """The keys and values of a soft prompt and of what all prompts begin with: the same for every row, computed once."""
        if (voice.name, shared) not in self._leads:
            self._leads[voice.name, shared] = self._run_lead(voice, shared)
        return self._leads[voice.name, shared]

    def _run_lead(self, voice: Voice, shared: tuple[int, ...]) -> KeysValues:
        if self.tree.mixture:
            self.tree.mixture.rows([voice.mixed])
        length, start = voice.virtual + len(shared), 0
        cache = PreallocatedCache(self.family.num_layers, length)
        embedded = self.model.get_input_embeddings()(torch.tensor(shared, dtype=torch.long, device=self.device))
        if voice.soft and voice.soft.soft_prompt is SoftPrompt.KEYS_VALUES:
            start = voice.virtual
            for number, layer in enumerate(prefix_cache(voice.soft, self.family, 1).layers):
                cache.update(layer.keys, layer.values, number)
        elif voice.soft:
            embedded = torch.cat([voice.soft.virtual_embeddings().to(embedded.dtype), embedded])
        if start < length:
            positions = torch.arange(start, length, device=self.device)[None]
            mask = as_taken(self._seen(positions, length)[:, None], self.model)
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
        likely = () if row.logprobs is None else (_likely(logits, row),)
        if token in row.ends:
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


def _likely(logits: torch.Tensor, row: Row) -> TokenLogprob:
    """Of the token that was chosen last, and of the likeliest at its place."""
    tokenizer, token = row.voice.loaded.tokenizer, row.ids[-1]
    before = row.prompt if len(row.ids) < 5 else row.ids[-5:-1]
    text: Callable[[int], str] = lambda one: tokenizer.decode_after(before, [one])  # noqa: E731
    logprobs = logits.float().log_softmax(-1)
    values, ids = logprobs.topk(min(row.logprobs or 0, logprobs.shape[-1]))
    top = tuple((text(one), value) for one, value in zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(text(token), float(logprobs[token]), top)
