"""Drawing a token: the likeliest few are enough to find the one that sorting the whole vocabulary finds."""

from __future__ import annotations

import pytest
import torch

from codetune.config import DecodingConfig
from codetune.generate.sampling import choose, stream


def by_sorting(logits: torch.Tensor, decoding: DecodingConfig, seed: int) -> list[int]:
    """One row at a time, the lower id first of equally likely ones."""
    found = []
    for index, row in enumerate(logits):
        shares = torch.softmax(row.double() / decoding.temperature, dim=-1)
        ordered, ids = shares.sort(descending=True, stable=True)
        total = ordered.cumsum(-1)
        kept = int((total - ordered < decoding.top_p).sum())
        target = stream(seed, "t", index).random() * ordered[:kept].sum()
        found.append(int(ids[min(int((total[:kept] <= target).sum()), kept - 1)]))
    return found


@pytest.mark.parametrize(("temperature", "top_p"), [(0.2, 0.95), (1.0, 1.0), (1.5, 0.9), (3.0, 1.0)])
@pytest.mark.parametrize("rounded", [False, True], ids=["all differ", "many are equal"])
def test_draws_are_those_of_sorting_all(temperature: float, top_p: float, rounded: bool) -> None:
    decoding = DecodingConfig(temperature=temperature, top_p=top_p)
    differing = set()
    for seed, (size, spread) in enumerate(((40, 1.0), (64, 3.0), (700, 0.5), (700, 4.0))):
        logits = spread * torch.randn(40, size, generator=torch.Generator().manual_seed(seed))
        logits = logits.round() if rounded else logits
        got = choose(logits, decoding, [stream(seed, "t", index) for index in range(len(logits))]).tolist()
        assert got == by_sorting(logits, decoding, seed)
        differing |= set(got)
    assert len(differing) > 20


def test_greedy_takes_the_lowest_id_of_the_likeliest() -> None:
    assert choose(torch.tensor([[0.0, 2.0, 2.0], [3.0, 1.0, 0.0]]), DecodingConfig(), []).tolist() == [1, 0]
