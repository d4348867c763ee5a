"""The texts of several shards under one numbering, and how alike any two of them are, exactly.

Shingles stay on disk, memory-mapped; a comparison reads those of the two texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codetune.data.similar.minhash import Numbers, Short, load_fingerprints, settings_of
from codetune.data.words import spans
from codetune.data_recipe import DuplicatesConfig
from codetune.errors import UserError

_HIGH = np.uint64(32)
_CHUNK_SHINGLES = 1 << 16  # compared at once, so that they stay in the processor's cache
_SAMPLE = 128  # of each large set, first
_DOUBT = 0.2  # a sample says less with a probability under 1e-6: five standard deviations of the share of 128 or more


class ShingleSets:
    """Fingerprints of shards, by the global number of a text: those of the first shard come first."""

    def __init__(self, parts: Sequence[Path], config: DuplicatesConfig) -> None:
        self._parts = [load_fingerprints(path) for path in parts]
        for path, part in zip(parts, self._parts, strict=True):
            if part.settings != settings_of(config):
                raise UserError(f"{path} was made with other settings of duplicates: remove it to have it made again")
        self.starts = np.concatenate([[0], np.cumsum([part.texts for part in self._parts])]).astype(np.int64)
        self.sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in self._parts)])
        self.bands = min((len(part.bands) for part in self._parts), default=0)

    @property
    def texts(self) -> int:
        return int(self.starts[-1])

    def exact(self) -> NDArray[np.uint64]:
        """[texts, 2]: hashes of the texts, white space aside."""
        return np.concatenate([np.zeros((0, 2), np.uint64), *(part.exact for part in self._parts)])

    def band(self, number: int) -> Iterator[tuple[Numbers, Short]]:
        """Of each shard in turn, the numbers of its texts and their keys in a band."""
        for start, part in zip(self.starts, self._parts, strict=False):
            yield start + np.arange(part.texts), np.asarray(part.bands[number])

    def keys_of(self, number: int, texts: Numbers) -> Short:
        """The keys of some texts in a band."""
        keys = np.empty(len(texts), dtype=np.uint32)
        for part, chosen in self._by_part(texts):
            keys[chosen] = self._parts[part].bands[number][texts[chosen] - self.starts[part]]
        return keys

    def jaccard(self, left: Numbers, right: Numbers) -> NDArray[np.float64]:
        """Shared over all distinct shingles of each pair of texts; each text has at least one."""
        similarity = np.empty(len(left))
        for some in _chunks(self.sizes[left] + self.sizes[right]):
            similarity[some] = self._compared(left[some], right[some], None)
        return similarity

    def alike(self, left: Numbers, right: Numbers, threshold: float) -> NDArray[np.bool_]:
        """Whether the similarity of each pair of texts is at or above the threshold.

        Large sets are compared by their smallest hashes first, which are a fair sample; only who is far below it there is believed.
        """
        both = self.sizes[left] + self.sizes[right]
        possible = np.ones(len(left), dtype=np.bool_)
        large = np.flatnonzero(both > 4 * _SAMPLE)
        for some in _chunks(np.full(len(large), 2 * _SAMPLE)):
            pairs = large[some]
            possible[pairs] = self._compared(left[pairs], right[pairs], _SAMPLE) >= threshold - _DOUBT
        possible[possible] = self.jaccard(left[possible], right[possible]) >= threshold
        return possible

    def _compared(self, left: Numbers, right: Numbers, first: int | None) -> NDArray[np.float64]:
        """The similarity of each pair; with `first`, among the hashes up to where one of the two would need more than so many."""
        some, more = self._keyed(left, first), self._keyed(right, first)
        if first is not None:
            ends = [keyed[np.searchsorted(keyed >> _HIGH, np.arange(len(left)), side="right") - 1] for keyed in (some, more)]
            limit = np.minimum(*ends)
            some, more = (keyed[keyed <= limit[(keyed >> _HIGH).astype(np.int64)]] for keyed in (some, more))
        merged = np.concatenate([some, more])
        merged.sort(kind="stable")  # sides are in order, so that it is one merge
        twice = merged[1:][merged[1:] == merged[:-1]]
        counts, shared = (np.bincount((keys >> _HIGH).astype(np.int64), minlength=len(left)) for keys in (merged, twice))
        return shared / (counts - shared)

    def _keyed(self, texts: Numbers, first: int | None) -> NDArray[np.uint64]:
        """The shingles (or the first of them) of the texts, one text after the other, each with the place of its text above it."""
        sizes = self.sizes[texts] if first is None else np.minimum(self.sizes[texts], first)
        keyed = np.repeat(np.arange(len(texts), dtype=np.uint64) << _HIGH, sizes)
        firsts = np.cumsum(sizes) - sizes
        for part, chosen in self._by_part(texts):
            shard = self._parts[part]
            found = shard.shingles[spans(shard.offsets[texts[chosen] - self.starts[part]], sizes[chosen])]
            if len(chosen) == len(texts):
                keyed |= found
            else:
                keyed[spans(firsts[chosen], sizes[chosen])] |= found
        return keyed

    def _by_part(self, texts: Numbers) -> Iterator[tuple[int, Numbers]]:
        """The shards that have some of the texts, and which of these they have."""
        parts = np.searchsorted(self.starts, texts, side="right") - 1
        for part in np.unique(parts).tolist():
            yield part, np.flatnonzero(parts == part)


def _chunks(sizes: Numbers) -> Iterator[slice]:
    """Pairs in a row that are compared at once."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK_SHINGLES, side="right")))
        yield slice(first, last)
        first = last
