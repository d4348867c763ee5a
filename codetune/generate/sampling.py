"""Choosing the next token: greedy, or temperature with top-p, each sequence from a random stream of its own."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from codetune.config import DecodingConfig


def stream(seed: int, task_id: str, index: int) -> np.random.Generator:
    """A sequence's own random numbers: the same whatever else is in its batch, on every machine."""
    digest = hashlib.sha256(f"{seed}/{task_id}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))


def choose(logits: torch.Tensor, decoding: DecodingConfig, streams: list[np.random.Generator]) -> torch.Tensor:
    """Next token ids [rows] from logits [rows, vocabulary]. Temperature 0 is greedy (the lowest id wins a tie)."""
    if decoding.temperature == 0:
        return logits.argmax(dim=-1)
    shares = torch.softmax(logits.double() / decoding.temperature, dim=-1)
    ordered, ids = shares.sort(dim=-1, descending=True, stable=True)
    total = ordered.cumsum(dim=-1)
    kept = torch.where(total - ordered < decoding.top_p, ordered, 0.0)  # the smallest set that reaches top_p (Holtzman et al. 2020)
    draws = torch.tensor([random.random() for random in streams], dtype=torch.float64, device=logits.device)
    target = draws[:, None] * kept.sum(dim=-1, keepdim=True)
    place = (kept.cumsum(dim=-1) <= target).sum(dim=-1, keepdim=True)
    last_kept = (kept > 0).sum(dim=-1, keepdim=True) - 1
    return ids.gather(1, torch.minimum(place, last_kept))[:, 0]
