"""Sequences under way in codetune's own engine: how they start, take tokens and end, whatever kind of model writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from codetune.config import DecodingConfig
from codetune.generate.fake import cut_at_stop
from codetune.generate.request import TOO_LONG, Generated, Request
from codetune.generate.sampling import stream
from codetune.models.load import LoadedModel, TextTokenizer

_STOP_TAIL_TOKENS = 12  # a stop sequence is looked for in the text of so many last tokens
_COMPACT_SHARE = 0.75  # ended rows leave the batch when fewer than this share go on


@dataclass(slots=True)
class Growing:
    """One continuation as it is written."""

    request: Request
    index: int
    prompt: list[int]
    limit: int  # new tokens at most
    random: np.random.Generator
    ids: list[int] = field(default_factory=list)
    finish: str = ""


def started(request: Request, prompt: list[int], room: int, decoding: DecodingConfig) -> list[Growing]:
    """The continuations of a request, none of them begun; where there is no room, ended already."""
    limit = min(decoding.max_new_tokens, room)
    streams = [stream(decoding.seed, request.task_id, index) for index in range(request.n)]
    finish = "" if limit > 0 else TOO_LONG
    return [Growing(request, index, prompt, limit, random, finish=finish) for index, random in enumerate(streams)]


def batches(sequences: Sequence[list[Growing]], batch_size: int) -> Iterator[list[Growing]]:
    """Longest prompts first, all sequences of as many requests as fit in one batch, at least one."""
    batch: list[Growing] = []
    for alike in sorted(sequences, key=lambda each: -len(each[0].prompt)):
        if batch and len(batch) + len(alike) > batch_size:
            yield batch
            batch = []
        batch = batch + alike
    if batch:
        yield batch


def take(live: Sequence[Growing], tokens: Sequence[int], loaded: LoadedModel) -> list[int]:
    """Give every sequence its token, and end those that are done. Returns the rows to go on with: all of them, until enough have ended."""
    ends = loaded.stop_ids
    for one, token in zip(live, tokens, strict=True):
        if not one.finish:
            one.ids.append(token)
            one.finish = "eos" if token in ends else _finish(one, loaded.tokenizer)
    going = [row for row, one in enumerate(live) if not one.finish]
    return list(range(len(live))) if len(going) > _COMPACT_SHARE * len(live) else going


def result(one: Growing, tokenizer: TextTokenizer) -> Generated:
    """What has been written, as text that ends before the stop sequence."""
    ids = one.ids[:-1] if one.finish == "eos" else one.ids
    text, _ = cut_at_stop(tokenizer.decode_after(one.prompt, ids), one.request.stop)
    return Generated(one.request.task_id, one.index, text, one.finish, len(one.ids))


def _finish(one: Growing, tokenizer: TextTokenizer) -> str:
    if one.request.stop:
        tail = tokenizer.decode_after(one.prompt if len(one.ids) < 4 else [], one.ids[-_STOP_TAIL_TOKENS:])
        if any(stop in tail for stop in one.request.stop):
            return "stop"
    return "length" if len(one.ids) >= one.limit else ""
