"""codetune's own live engine: answers that arrive together are written together, each by its own adapter, over one base in memory.

A thread of its own runs the lanes (`generate.lane`), one for each tree of modules (`models.several`): before every step what is new joins,
and what has ended or been given up leaves, so no answer waits for another one's end.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import torch

from codetune.generate.asked import prompt_of, too_long
from codetune.generate.lane import Lane, Row, fits
from codetune.generate.lanes import lane_of
from codetune.generate.live import FAILED, Ask, BusyError, Piece, ServedModel, TooLongError, UnknownModelError
from codetune.generate.sampling import stream
from codetune.generate.writing import Writing
from codetune.models.load import TextTokenizer
from codetune.models.several import Voice

Tell = Callable[[Piece], None]


class _Taken:
    """An ask under way: whom its pieces go to, until it is cancelled."""

    def __init__(self, tell: Tell, prompt_tokens: int, wake: threading.Condition) -> None:
        self.prompt_tokens, self.cancelled = prompt_tokens, False
        self._tell, self._wake = tell, wake

    def cancel(self) -> None:
        with self._wake:
            self.cancelled = True
            self._wake.notify()

    def tell(self, piece: Piece) -> None:
        """What fails where the piece goes to concerns this ask alone."""
        if not self.cancelled:
            try:
                self._tell(piece)
            except Exception:
                self.cancelled = True


class ContinuousEngine:
    """Answers by `voices`, `rows` continuations at once; `waiting` more may queue."""

    name = "own"

    def __init__(self, voices: Sequence[Voice], rows: int = 16, waiting: int = 256) -> None:
        self.voices, self.most_rows, self.most_waiting = {voice.name: voice for voice in voices}, rows, waiting
        self._models = tuple(
            ServedModel(
                voice.name, voices[0].name, voice.method, voice.style, voice.styles, voice.loaded.family.max_positions - voice.virtual,
                voice.loaded.tokenizer.infill_marks is not None,
            )
            for voice in voices
        )  # fmt: skip
        self._lanes = {id(voice.tree): lane_of(voice) for voice in voices}
        self._queue: deque[tuple[Row, _Taken]] = deque()
        self._going: dict[int, _Taken] = {}  # by the identity of the row
        self._wake = threading.Condition()
        # Encoding changes a tokenizer's settings: prompts have one of their own, beside the one that answers are decoded with.
        self._text = threading.Lock()
        self._encoders: dict[int, TextTokenizer] = {}
        for voice in voices:
            if id(voice.loaded.tokenizer) not in self._encoders:
                self._encoders[id(voice.loaded.tokenizer)] = copy.deepcopy(voice.loaded.tokenizer)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="codetune-engine", daemon=True)
        self._thread.start()

    def models(self) -> tuple[ServedModel, ...]:
        return self._models

    @property
    def running(self) -> int:
        """Continuations that are being written."""
        return len(self._going)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def submit(self, ask: Ask, tell: Tell) -> _Taken:
        voice = self.voices.get(ask.model)
        if voice is None:
            raise UnknownModelError.of(ask.model, self.voices)
        with self._text:
            encoder = self._encoders[id(voice.loaded.tokenizer)]
            prompt, stops = prompt_of(ask, voice.style, voice.styles, encoder, voice.loaded.family.vocab_size)
        room = voice.room(prompt)
        if room < 1:
            own = f", of which {voice.virtual} are virtual tokens" if voice.virtual else ""
            positions = voice.loaded.family.max_positions
            raise TooLongError(too_long(len(prompt), f"{positions}{own}"))
        taken = _Taken(tell, len(prompt), self._wake)
        rows = [
            Row(
                voice, index, prompt, min(room, ask.decoding.max_new_tokens), ask.decoding, stream(ask.decoding.seed, "live", index),
                Writing(voice.loaded.tokenizer, prompt, stops), ask.logprobs,
            )
            for index in range(ask.decoding.n)
        ]  # fmt: skip
        with self._wake:
            if self._closed:
                raise BusyError("the server is closing")
            self._queue = deque(one for one in self._queue if not one[1].cancelled)
            if len(self._queue) + len(rows) > self.most_waiting:
                raise BusyError(f"{len(self._queue)} answers are waiting already, and at most {self.most_waiting} may: try again later")
            self._queue.extend((row, taken) for row in rows)
            self._wake.notify()
        return taken

    def close(self) -> None:
        """Cancel all and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._queue or self._going)
                if self._closed:
                    break
                self._drop_cancelled()
                joining = self._joining()
            for lane, rows in joining:
                self._pass(lane, rows, partial(lane.join, rows))
            for lane in self._lanes.values():
                if lane.rows:
                    self._pass(lane, lane.rows, lane.step)
        for taken in {*self._going.values(), *(taken for _, taken in self._queue)}:
            taken.tell(Piece(0, "the server is closing", FAILED))

    def _drop_cancelled(self) -> None:
        self._queue = deque(one for one in self._queue if not one[1].cancelled)
        for lane in self._lanes.values():
            self._leave(lane, [row for row in lane.rows if self._going[id(row)].cancelled])

    def _joining(self) -> list[tuple[Lane, list[Row]]]:
        """Those that come first in the queue, as many as there are places for, and a pass's worth of prompts in each lane."""
        found: dict[int, list[Row]] = {}
        while self._queue and len(self._going) < self.most_rows:
            row, taken = self._queue[0]
            rows = found.setdefault(id(row.voice.tree), [])
            if not fits(rows, row):
                break
            rows.append(row)
            self._going[id(row)] = taken
            self._queue.popleft()
        return [(self._lanes[tree], rows) for tree, rows in found.items()]

    def _pass(self, lane: Lane, rows: Sequence[Row], run: Callable[[], list[tuple[Row, Piece]]]) -> None:
        """One pass of the model; what it cannot do ends the answers of these rows, not the server."""
        try:
            made = run()
        except Exception as error:
            for row in {id(row): row for row in (*lane.rows, *rows)}.values():
                self._going.pop(id(row)).tell(Piece(row.index, f"{type(error).__name__}: {error}", FAILED, len(row.ids)))
            lane.clear()
            return
        told = [(self._going[id(row)], piece) for row, piece in made if piece.text or piece.finish or piece.logprobs]
        self._leave(lane, [row for row, piece in made if piece.finish])  # its place is free before its end is known
        for taken, piece in told:
            taken.tell(piece)

    def _leave(self, lane: Lane, rows: Sequence[Row]) -> None:
        lane.leave(rows)
        for row in rows:
            del self._going[id(row)]
