"""The second stage, the one that sees all parts: which documents stay, in which split, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from codetune.data.prepared.account import EXAMPLES, Account
from codetune.data.prepared.clean import ARRAYS, DOCUMENTS, FINGERPRINTS
from codetune.data.prepared.split import DOCUMENT_KEY, UNASSIGNED, assign
from codetune.data.similar.duplicates import find_duplicates
from codetune.data.words import mixed
from codetune.data_recipe import DataRecipe

BEYOND, REPEATED_ID, EXACT, NEAR = "beyond max_documents", "repeated id", "exact duplicate", "near duplicate"
_SPLIT_RANK = 1e15  # of duplicates in several splits the held-out one stays: training on the other would be the leak
_LARGEST_RANK = 1e12


@dataclass(frozen=True, slots=True)
class Settled:
    """Of one part's documents: index in `SPLITS`, and how often each stands in the data (0: left out)."""

    folder: Path
    source: int
    splits: NDArray[np.int8]
    repeats: NDArray[np.int32]


def settle(folders: Sequence[Path], sources: Sequence[int], recipe: DataRecipe, accounts: Sequence[Account]) -> list[Settled]:
    """What becomes of every document of every part; `sources` says which of the recipe's sources a part is of.

    What is left out is counted in the sources' accounts. Memory: some 50 bytes per document, and what `find_duplicates` sorts at a time.
    """
    parts = [dict(np.load(folder / ARRAYS)) for folder in folders]
    ends = np.cumsum([len(part["ranks"]) for part in parts])
    keys = np.concatenate([part["keys"] for part in parts])
    own = np.concatenate([part["splits"] for part in parts])
    source_of = np.repeat(np.array(sources), [len(part["ranks"]) for part in parts])
    beyond = np.zeros(len(keys), dtype=bool)
    for number, section in enumerate(recipe.sources):
        places = np.flatnonzero(source_of == number)
        if section.max_documents is not None:
            beyond[places[section.max_documents :]] = True
        if not (own[places] > 0).any():  # held-out documents of its own are not here: none is dealt yet
            own[places] = UNASSIGNED
    repeated = _repeated(keys[:, DOCUMENT_KEY])
    rank = np.concatenate([part["ranks"] for part in parts]).clip(-_LARGEST_RANK, _LARGEST_RANK) + _SPLIT_RANK * own.clip(0)
    rank[repeated | beyond] = -np.inf
    found = find_duplicates([folder / FINGERPRINTS for folder in folders], np.split(rank, ends[:-1]), recipe.duplicates)
    stays = np.concatenate([part.stays for part in found.parts])
    exact = np.concatenate([part.exact for part in found.parts])
    near, clean = ~stays & ~exact, ~(repeated | beyond)
    gone = {BEYOND: beyond, REPEATED_ID: repeated & ~beyond, EXACT: ~stays & exact & clean, NEAR: near & clean}
    keep = stays & clean
    splits = np.full(len(keys), UNASSIGNED, dtype=np.int8)
    splits[keep] = assign(keys[keep], own[keep], recipe.split, recipe.seed)
    settled = []
    for number, (folder, source) in enumerate(zip(folders, sources, strict=True)):
        here = slice(ends[number] - len(parts[number]["ranks"]), ends[number])
        for reason, flags in gone.items():
            instead = [found.place(member) for member in found.parts[number].member[flags[here]][:EXAMPLES].tolist()]
            _leave_out(accounts[source], reason, folder, flags[here], [(folders[part], place) for part, place in instead])
        repeats = _repeats(keys[here, DOCUMENT_KEY], splits[here], recipe.sources[source].weight)
        settled.append(Settled(folder, source, splits[here], repeats))
    return settled


def _repeated(ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """All but the first of each."""
    flags = np.ones(len(ids), dtype=bool)
    flags[np.unique(ids, return_index=True)[1]] = False
    return flags


def _repeats(ids: NDArray[np.uint64], splits: NDArray[np.int8], weight: float) -> NDArray[np.int32]:
    """How often a training document is taken: a weight of 2.25 is twice, and three times for a quarter, chosen by hash."""
    chance = mixed(ids ^ np.uint64(0xA5A5A5A5)).astype(np.float64) / 2.0**64
    repeats = np.floor(weight + chance).astype(np.int32)
    return np.where(splits > 0, 1, np.where(splits == UNASSIGNED, 0, repeats)).astype(np.int32)


def _leave_out(
    account: Account, reason: str, folder: Path, flags: NDArray[np.bool_], instead: Sequence[tuple[Path, int]]
) -> None:
    """Count these documents as left out, with a few examples of what, and which one stays (part and place)."""
    count = int(flags.sum())
    if not count:
        return
    account.left_out[reason] += count
    if len(account.examples.get(reason, ())) >= EXAMPLES:
        return
    names = pq.read_table(folder / DOCUMENTS, columns=["id", "text"])
    for index, (other, place) in zip(np.flatnonzero(flags).tolist(), instead, strict=False):
        kept = pq.read_table(other / DOCUMENTS, columns=["id"])["id"][place].as_py()
        account.show(reason, names["id"][index].as_py(), f"{kept} stays", names["text"][index].as_py())


