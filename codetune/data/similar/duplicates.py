"""Finds texts that are equal or nearly so in any number of shards, and says which one of each cluster stays.

Fingerprints are made shard by shard (`codetune.data.similar.minhash`); what is done here over all of them is sorting. Of each text about a
hundred bytes are in memory, of the keys being sorted as much as `memory_bytes` allows, and of the shingles those being compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codetune.data.similar.minhash import Numbers
from codetune.data.similar.shingle_sets import ShingleSets
from codetune.data_recipe import DuplicatesConfig

Keys = NDArray[np.uint64]
_LARGE = 64  # texts in a bucket, beyond which each is compared to its neighbours alone
_NEIGHBOURS = 7
_NUMBER = np.uint64(0xFFFFFFFF)  # a text's number, below its key
_HIGH = np.uint64(32)
_BYTES_SORTED = 32  # memory for each key while it is sorted


@dataclass(frozen=True, slots=True)
class PartDuplicates:
    """What becomes of a shard's texts. Numbers are global: those of the first shard come first."""

    stays: NDArray[np.bool_]
    member: Numbers  # the number of the text that stays for this one: its own where it stays itself
    exact: NDArray[np.bool_]  # of what goes: it equals the one that stays, white space aside


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What becomes of each shard's texts, and what it took to find out."""

    parts: tuple[PartDuplicates, ...]
    starts: Numbers  # [shards + 1]: the number of each shard's first text
    compared: int  # pairs of which the similarity was computed

    def place(self, number: int) -> tuple[int, int]:
        """The shard of a text, and its place in it."""
        part = int(np.searchsorted(self.starts, number, side="right")) - 1
        return part, number - int(self.starts[part])


def find_duplicates(
    parts: Sequence[Path], ranks: Sequence[NDArray[np.float64]], config: DuplicatesConfig, memory_bytes: int = 1 << 30
) -> Duplicates:
    """Which texts of the shards (files of `save_fingerprints`) go, as another of their cluster stays: the highest rank, then the first.

    Clusters are connected components, the usual rule (SantaCoder, StarCoder): where A is like B and B like C, two of the three go,
    though A and C may be less alike. Each pair at or above the threshold that has a bucket of a band in common is found, but for
    buckets of more than 64 texts (a licence header does that): there each text is compared to the 7 that follow in the order of the
    next band, so that no bucket costs more than 63 comparisons for each of its texts; texts that have more in common than the header
    meet in other buckets, too. Pairs whose cluster is known to be one are not compared at all. Pairs just at the threshold meet in no
    band in one case of 10,000, more similar ones far more seldom.
    """
    texts = ShingleSets(parts, config)
    clusters = Clusters(texts.texts)
    equal = _merge_equal(texts, clusters, config)
    compared = _merge_near(texts, clusters, config, memory_bytes) if config.near else 0
    member = _best(clusters.roots, np.concatenate([np.zeros(0), *ranks]))
    exact = (equal == equal[member]) & config.exact
    stays = member == np.arange(texts.texts)
    edges = texts.starts[1:-1]
    shards = zip(np.split(stays, edges), np.split(member, edges), np.split(exact & ~stays, edges), strict=True)
    return Duplicates(tuple(PartDuplicates(*shard) for shard in shards) if parts else (), texts.starts, compared)


def near_pairs(
    parts: Sequence[Path], config: DuplicatesConfig, memory_bytes: int = 1 << 30
) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
    """All pairs at or above the threshold that meet in some band, smaller number first, with their similarity: to measure by.

    Costs the square of a bucket's size, and eight bytes for each pair that meets.
    """
    texts = ShingleSets(parts, config)
    active = texts.sizes > 0
    met = [np.zeros(0, dtype=np.uint64)]
    for band in range(texts.bands):
        for keys in _sorted_keys(texts, band, active, memory_bytes):
            for left, right in _pairs(keys, None):
                alike = _may_be_alike(texts, left, right, config.threshold)
                met.append((left[alike].astype(np.uint64) << _HIGH) | right[alike].astype(np.uint64))
        met = [np.unique(np.concatenate(met))]
    left, right = (met[0] >> _HIGH).astype(np.int64), (met[0] & _NUMBER).astype(np.int64)
    alike = texts.alike(left, right, config.threshold)
    return left[alike], right[alike], texts.jaccard(left[alike], right[alike])


class Clusters:
    """Connected components of texts: `roots` has for each text the smallest number of its cluster."""

    def __init__(self, texts: int) -> None:
        self.roots = np.arange(texts)

    def merge(self, left: Numbers, right: Numbers) -> None:
        """Make one cluster of those of each pair."""
        roots = self.roots
        left, right = roots[left], roots[right]
        if not len(left):
            return
        while len(left):
            np.minimum.at(roots, np.maximum(left, right), np.minimum(left, right))
            touched = np.unique(np.concatenate([left, right]))
            while len(touched):  # chains are halved until all stand at their end
                above = roots[roots[touched]]
                touched, above = touched[above != roots[touched]], above[above != roots[touched]]
                roots[touched] = above
            left, right = roots[left], roots[right]
            apart = left != right
            left, right = left[apart], right[apart]
        while not np.array_equal(above := roots[roots], roots):  # members of clusters whose root was merged
            roots = above
        self.roots = roots


def _merge_equal(texts: ShingleSets, clusters: Clusters, config: DuplicatesConfig) -> Numbers:
    """Merge what is equal where that is asked for, or where it would be found as near anyway; for each text the first that equals it."""
    hashes = texts.exact()
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: the first text comes first
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    equal = np.empty(len(order), dtype=np.int64)
    equal[order] = order[fresh][np.cumsum(fresh) - 1]
    merged = equal != np.arange(len(order))
    if not config.exact:
        merged &= (texts.sizes > 0) & config.near
    clusters.merge(equal[merged], np.flatnonzero(merged))
    return equal


def _merge_near(texts: ShingleSets, clusters: Clusters, config: DuplicatesConfig, memory_bytes: int) -> int:
    """Merge what is alike, band after band; returns how many pairs were compared."""
    active = (texts.sizes > 0) & (clusters.roots == np.arange(texts.texts))  # one of each that are equal
    compared = 0
    for band in range(texts.bands):
        for keys in _sorted_keys(texts, band, active, memory_bytes):
            for left, right in _pairs(keys, (texts, (band + 1) % texts.bands)):
                new = np.flatnonzero(clusters.roots[left] != clusters.roots[right])
                new = new[_may_be_alike(texts, left[new], right[new], config.threshold)]
                left, right = left[new], right[new]
                compared += len(new)
                alike = texts.alike(left, right, config.threshold)
                clusters.merge(left[alike], right[alike])
    return compared


def _sorted_keys(texts: ShingleSets, band: int, active: NDArray[np.bool_], memory_bytes: int) -> Iterator[Keys]:
    """The keys of a band with the numbers of their texts below them, sorted, in as many ranges of keys as memory asks for."""
    ranges = int(active.sum()) * _BYTES_SORTED // max(1, memory_bytes) + 1
    edges = [((1 << 32) * number) // ranges for number in range(ranges + 1)]
    for low, high in itertools.pairwise(edges):
        found = [np.zeros(0, dtype=np.uint64)]
        for numbers, keys in texts.band(band):
            chosen = active[numbers]
            if ranges > 1:
                chosen &= (keys >= low) & (keys < high)
            found.append((keys[chosen].astype(np.uint64) << _HIGH) | numbers[chosen].astype(np.uint64))
        packed = np.concatenate(found)
        packed.sort()
        yield packed


def _pairs(packed: Keys, large: tuple[ShingleSets, int] | None) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of texts with the same key, smaller number first: neighbours, then those two and three apart, and so on.

    What merged at one distance need not be compared at the next. With `large`, texts and a band, each text of a large bucket is paired
    with its neighbours in the order of that band alone; without, all are paired.
    """
    if not len(packed):
        return
    keys = packed >> _HIGH
    same = np.concatenate([[False], keys[1:] == keys[:-1], [False]])
    several = same[1:] | same[:-1]
    keys, numbers = keys[several], (packed[several] & _NUMBER).astype(np.int64)
    if not len(keys):
        return
    sizes = np.diff(np.append(np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])), len(keys)))
    reach = np.repeat(sizes, sizes)
    if large:
        crowded = np.flatnonzero(reach > _LARGE)
        numbers[crowded] = numbers[crowded][np.lexsort((numbers[crowded], large[0].keys_of(large[1], numbers[crowded]), keys[crowded]))]
        reach[crowded] = _NEIGHBOURS + 1
    near = 1
    while len(keys):
        far = min(2 * near, int(reach.max()))
        found = [_apart(keys, numbers, distance) for distance in range(near, far)]
        if found:
            left, right = (np.concatenate(side) for side in zip(*found, strict=True))
            yield np.minimum(left, right), np.maximum(left, right)
        near = far
        wide = reach > near
        keys, numbers, reach = keys[wide], numbers[wide], reach[wide]


def _apart(keys: Keys, numbers: Numbers, distance: int) -> tuple[Numbers, Numbers]:
    """Texts of one bucket that stand so far apart."""
    same = np.flatnonzero(keys[distance:] == keys[:-distance])
    return numbers[same], numbers[same + distance]


def _may_be_alike(texts: ShingleSets, left: Numbers, right: Numbers, threshold: float) -> NDArray[np.bool_]:
    """Whether the sizes of two sets allow for the similarity."""
    some, more = texts.sizes[left], texts.sizes[right]
    enough: NDArray[np.bool_] = np.minimum(some, more) >= threshold * np.maximum(some, more)
    return enough


def _best(roots: Numbers, ranks: NDArray[np.float64]) -> Numbers:
    """For each text the member of its cluster with the highest rank, the first of equals."""
    order = np.lexsort((-ranks, roots))  # stable: ties stand in the order of the texts
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = roots[order[1:]] != roots[order[:-1]]
    best = np.empty(len(order), dtype=np.int64)
    best[roots[order[first]]] = order[first]
    return best[roots]
