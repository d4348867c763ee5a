"""codetune's own engine for benchmarks: continuous batches over one model in memory, with one adapter or several.

A row that ends makes place for the next prompts (`generate.lane`); what all prompts of a model begin with (worked examples, say) is run
once, and so is a prompt that is answered several times. A greedy answer is the same alone and in any batch (in float32 and float64; in
bf16 rounding may flip a token), a sampled one depends on its seed, `task_id` and index alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from codetune.config import DecodingConfig
from codetune.data.encode import encode_prompt
from codetune.errors import UserError, nearest
from codetune.generate.fake import cut_at_stop
from codetune.generate.lane import Lane, Row, fits
from codetune.generate.lanes import lane_of
from codetune.generate.live import Piece
from codetune.generate.request import TOO_LONG, Generated, Report, Request
from codetune.generate.sampling import stream
from codetune.generate.watching import Pieces, Watching
from codetune.methods import Adapted
from codetune.models.load import LoadedModel, TextTokenizer
from codetune.models.several import Tree, Voice, soft_of

_WAVE_SHARE = 4  # rows join when one in so many places is free: a prefill for each that ends would cost more than it gives


class VoicesEngine:
    """Answers each request by the voice that it names (`Request.voice`), or by the first one; all voices of one base share its batches."""

    name = "own"

    def __init__(self, voices: Sequence[Voice]) -> None:
        self.voices = {voice.name: voice for voice in voices}
        self._first = voices[0]
        self._pieces: dict[int, Pieces] = {}

    def room(self, request: Request) -> int:
        """Positions less virtual tokens and prompt, or of the decoder: with one or more it is answered, in so many tokens at most."""
        voice = self._voice(request)
        return voice.room(_encode(request, voice))

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        """Longest prompts first, so that the first batch shows whether memory suffices; one too long for the model gets no text.

        Never more than `decoding.batch_size` rows are in memory. Raises UserError for a voice that there is not.
        """
        asked = [self._rows(request, decoding) for request in requests]
        _share_beginnings([alike[0] for alike in asked], asked)
        batch = _Batch(asked, requests, decoding.batch_size, report)
        batch.run()
        return [batch.made[id(row)] for alike in asked for row in alike]

    def _voice(self, request: Request) -> Voice:
        if not request.voice:
            return self._first
        if request.voice not in self.voices:
            raise UserError(f"no model {request.voice!r} is open: {nearest(request.voice, self.voices)}")
        return self.voices[request.voice]

    def _rows(self, request: Request, decoding: DecodingConfig) -> list[Row]:
        """The continuations of a request, none of them begun; where there is no room, ended already."""
        voice = self._voice(request)
        prompt, tokenizer = _encode(request, voice), voice.loaded.tokenizer
        limit = min(decoding.max_new_tokens, voice.room(prompt))
        pieces = self._pieces.setdefault(id(tokenizer), Pieces(tokenizer))
        finish = "" if limit > 0 else TOO_LONG
        return [
            Row(
                voice, index, prompt, limit, decoding, stream(decoding.seed, request.task_id, index), Watching(pieces, request.stop),
                finish=finish,
            )
            for index in range(request.n)
        ]  # fmt: skip


class OwnEngine(VoicesEngine):
    """Generates from a model in memory, tuned or not."""

    def __init__(self, loaded: LoadedModel, adapted: Adapted) -> None:
        self.loaded, self.adapted = loaded, adapted
        super().__init__([Voice("", loaded, Tree(adapted.model), adapted.method, None, soft=soft_of(adapted))])

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        self.adapted.root.eval()
        return super().generate(requests, decoding, report)


class _Batch:
    """Requests that are answered, so many rows at once, tree by tree."""

    def __init__(self, asked: Sequence[list[Row]], requests: Sequence[Request], places: int, report: Report | None) -> None:
        self.places, self.report = places, report
        self.made: dict[int, Generated] = {}  # by the identity of the row
        self._asked = {id(row): (request, alike) for request, alike in zip(requests, asked, strict=True) for row in alike}
        self._missing = {id(alike): len(alike) for alike in asked}  # rows that have not ended, by request
        self._ended([row for alike in asked for row in alike if row.finish])
        self._queues: dict[int, deque[Row]] = {id(alike[0].voice.tree): deque() for alike in asked}
        for alike in sorted((each for each in asked if not each[0].finish), key=lambda each: -len(each[0].prompt)):
            self._queues[id(alike[0].voice.tree)].extend(alike)

    def run(self) -> None:
        for queue in self._queues.values():
            if queue:
                self._run(lane_of(queue[0].voice), queue)

    def _run(self, lane: Lane, queue: deque[Row]) -> None:
        lane.take(min(self.places, len(queue)), max(row.voice.virtual + len(row.prompt) + row.limit for row in queue))
        wave = max(1, self.places // _WAVE_SHARE)
        while queue or lane.rows:
            free = self.places - len(lane.rows)
            if not lane.rows or free >= wave:
                self._join(lane, queue, free)
            if lane.rows:
                self._note(lane, lane.step())

    def _join(self, lane: Lane, queue: deque[Row], free: int) -> None:
        """The next in the queue, as many as there are places for, and a pass's worth of prompts at a time."""
        while queue and free:
            rows = [queue.popleft()]
            while queue and len(rows) < free and fits(rows, queue[0]):
                rows.append(queue.popleft())
            free -= len(rows)
            self._note(lane, lane.join(rows, more=bool(queue) and queue[0].question == rows[-1].question))

    def _note(self, lane: Lane, told: Sequence[tuple[Row, Piece]]) -> None:
        ended = [row for row, piece in told if piece.finish]
        lane.leave(ended)
        self._ended(ended)

    def _ended(self, rows: Sequence[Row]) -> None:
        """Keep what these have written, and report the requests that are whole with them."""
        whole: list[Generated] = []
        for row in rows:
            request, alike = self._asked[id(row)]
            found = written(request, row.index, row.prompt, row.ids, row.finish, row.voice.loaded.tokenizer)
            self.made[id(row)] = found
            self._missing[id(alike)] -= 1
            if not self._missing[id(alike)]:
                whole += [self.made[id(one)] for one in alike]
        if whole and self.report:
            self.report(whole)


def written(request: Request, index: int, prompt: list[int], ids: list[int], finish: str, tokenizer: TextTokenizer) -> Generated:
    """What token ids are as an answer: text that ends before the stop sequence."""
    text, _ = cut_at_stop(tokenizer.decode_after(prompt, ids[:-1] if finish == "eos" else ids), request.stop)
    return Generated(request.task_id, index, text, finish, len(ids), request.voice)


def _encode(request: Request, voice: Voice) -> list[int]:
    return encode_prompt(request.prompt, voice.loaded.tokenizer, request.has_special)


def _share_beginnings(firsts: Sequence[Row], asked: Sequence[list[Row]]) -> None:
    """Tell the rows of each voice how many tokens all their prompts begin with, short of a whole prompt: every row needs one of its own."""
    prompts: dict[str, list[list[int]]] = {}
    for row in firsts:
        if not row.finish and not row.voice.loaded.family.encoder_decoder:
            prompts.setdefault(row.voice.name, []).append(row.prompt)
    shared = {name: _shared(each) for name, each in prompts.items()}
    for alike in asked:
        for row in alike:
            row.shared = shared.get(row.voice.name, 0)


def _shared(prompts: Sequence[list[int]]) -> int:
    first, last = min(prompts), max(prompts)
    shortest = min(map(len, prompts)) - 1
    return next((at for at in range(shortest) if first[at] != last[at]), shortest)
