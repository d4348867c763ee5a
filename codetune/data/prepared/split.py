"""Train, validation and test by group, so that nothing of one repository, question or problem family is on two sides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codetune.data.words import mixed
from codetune.data_recipe import SplitConfig
from codetune.records import Document

SPLITS = ("train", "validation", "test")
FEWEST_GROUPS = 20  # below that, whole groups cannot make up a small share
UNASSIGNED = -1
GROUP_KEY, FILE_KEY, DOCUMENT_KEY = range(3)  # columns of `keys_of`


def keys_of(documents: Sequence[Document]) -> NDArray[np.uint64]:
    """[documents, 3]: hashes of the group, of what is never torn apart anyway (a file with its functions), and of the document itself."""
    keys = [
        [_hash(one.source, level) for level in (one.group or one.id, one.group + str(one.facts.get("file", "") or one.id), one.id)]
        for one in documents
    ]
    return np.array(keys, dtype=np.uint64).reshape(-1, 3)


def own_splits(documents: Sequence[Document]) -> NDArray[np.int8]:
    """[documents]: the index in `SPLITS` of the source's own split, or UNASSIGNED."""
    numbers = {"": UNASSIGNED} | {split: number for number, split in enumerate(SPLITS)}
    return np.array([numbers[document.split] for document in documents], dtype=np.int8)


def assign(keys: NDArray[np.uint64], own: NDArray[np.int8], config: SplitConfig, seed: int) -> NDArray[np.int8]:
    """[documents]: the index in `SPLITS` of every document.

    Groups are taken in the order of a seeded hash until a share is full; one larger than the whole share stays in training.
    A source's own splits stay what they are.
    """
    result = own.copy()
    free = own == UNASSIGNED
    if not free.any():
        return result
    by_group = config.by == "group" or (config.by == "auto" and len(np.unique(keys[free, GROUP_KEY])) >= FEWEST_GROUPS)
    column = GROUP_KEY if by_group else FILE_KEY
    units, unit_of, counts = np.unique(keys[free, column], return_inverse=True, return_counts=True)
    split_of_unit = np.zeros(len(units), dtype=np.int8)
    order = np.argsort(mixed(units ^ mixed(np.full(1, seed, dtype=np.uint64))), kind="stable")
    for split, share in ((1, config.validation), (2, config.test)):
        target = share * free.sum()
        left = order[(split_of_unit[order] == 0) & (counts[order] <= max(target, counts.min()))]
        before = np.cumsum(counts[left]) - counts[left]
        chosen = left[before < target]
        if len(chosen) < len(units) - (split_of_unit > 0).sum():  # something is left to train on
            split_of_unit[chosen] = split
    result[free] = split_of_unit[unit_of]
    return result


def _hash(*parts: str) -> int:
    text = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
