"""Choosing the next token: greedy, or temperature with top-p, each sequence from a random stream of its own."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from codetune.config import DecodingConfig

_LIKELIEST = 64  # among so many nearly every draw falls: the whole vocabulary is sorted for the rows where it does not


def stream(seed: int, task_id: str, index: int) -> np.random.Generator:
    """A sequence's own random numbers: the same whatever else is in its batch, on every machine."""
    digest = hashlib.sha256(f"{seed}/{task_id}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))


def choose(logits: torch.Tensor, decoding: DecodingConfig, streams: list[np.random.Generator]) -> torch.Tensor:
    """Next token ids [rows] from logits [rows, vocabulary]. Temperature 0 is greedy (the lowest id wins a tie)."""
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)
    shares = torch.softmax(logits.double() / decoding.temperature, dim=-1)
    draws = torch.tensor([random.random() for random in streams], dtype=torch.float64, device=logits.device)
    found, sure = _among(shares, draws, decoding.top_p, min(_LIKELIEST, shares.shape[-1]))
    if not bool(sure.all()):
        rest = (~sure).nonzero()[:, 0]
        found[rest] = _among(shares[rest], draws[rest], decoding.top_p, shares.shape[-1])[0]
    return found


def _among(shares: torch.Tensor, draws: torch.Tensor, top_p: float, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [rows] that the draws fall on among the `count` likeliest, the lower id first of equal ones; and whether that is certain.

    Kept is the smallest set that reaches `top_p` (Holtzman et al. 2020). Uncertain is a row whose set or draw goes beyond these, or
    ends among tokens as likely as the last of them, of which others may have been left out.
    """
    if count == shares.shape[-1]:
        ordered, ids = shares.sort(dim=-1, descending=True, stable=True)
    else:
        ids = shares.topk(count, sorted=False).indices.sort(dim=-1).values
        ordered, order = shares.gather(1, ids).sort(dim=-1, descending=True, stable=True)
        ids = ids.gather(1, order)
    total = ordered.cumsum(dim=-1)
    kept = torch.where(total - ordered < top_p, ordered, 0.0)
    whole = shares.sum(dim=-1) if top_p >= 1 else kept.sum(dim=-1)
    target = draws * whole
    place = (kept.cumsum(dim=-1) <= target[:, None]).sum(dim=-1)
    last_kept = (kept > 0).sum(dim=-1) - 1
    place = torch.minimum(place, last_kept)
    all_kept = last_kept < count - 1 if top_p < 1 else place < count - 1
    sure = all_kept & (ordered.gather(1, place[:, None])[:, 0] > ordered[:, -1])
    return ids.gather(1, place[:, None])[:, 0], sure
