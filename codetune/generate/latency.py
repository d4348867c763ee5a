"""How long one waits for an answer: time to its first token and from token to token, one prompt at a time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from codetune.config import DecodingConfig
from codetune.generate.engine import OwnEngine
from codetune.generate.request import Request


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds. Of `prompts` answers, the tokens of which after the first are `tokens` together."""

    first_token_s: float  # median over prompts; encoding the prompt's text is in it
    first_token_p90_s: float
    s_per_token: float | None  # median over tokens after the first; None where every answer had one token
    s_per_token_p90: float | None
    prompts: int
    tokens: int


def measure_latency(engine: OwnEngine, requests: Sequence[Request], max_new_tokens: int) -> Latency | None:
    """Greedy answers of at most so many tokens to each prompt alone, after one that is not counted.

    Stop sequences are left out, so that looking for them is no part of it; EOS ends an answer. None where no prompt fits the model.
    """
    decoding = DecodingConfig(max_new_tokens=max_new_tokens, batch_size=1)
    plain = [replace(request, n=1, stop=()) for request in requests]
    times: list[float] = []

    def note(*_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter())

    hook = engine.adapted.model.get_output_embeddings().register_forward_hook(note)  # the LM head runs once for every token
    waits = list[list[float]]()
    try:
        for request in (plain[0], *plain):
            times[:] = [time.perf_counter()]
            engine.generate([request], decoding)
            waits.append([after - before for before, after in itertools.pairwise(times)])
    finally:
        hook.remove()
    counted = [each for each in waits[1:] if each]  # a prompt that is too long has no answer
    firsts, later = [each[0] for each in counted], [wait for each in counted for wait in each[1:]]
    if not firsts:
        return None
    return Latency(
        percentile(firsts, 50), percentile(firsts, 90), percentile(later, 50) if later else None, percentile(later, 90) if later else None,
        len(firsts), len(later),
    )  # fmt: skip


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest values.

    >>> percentile([1.0, 2.0, 4.0], 50), percentile([0.0, 10.0], 90)
    (2.0, 9.0)
    """
    return float(np.percentile(values, percent))
