"""The first stage, a map over parts of the sources: read, filter, mask, look for overlap, and keep fingerprints of what is left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from codetune.data.cleaning.cleaner import Cleaner
from codetune.data.codebase.code import CodeChunk
from codetune.data.overlap.decontaminate import Decontaminator
from codetune.data.prepared.account import BAD_ROW, Account
from codetune.data.prepared.columns import to_table
from codetune.data.prepared.split import keys_of, own_splits
from codetune.data.read import BadRow, Skipped
from codetune.data.similar.minhash import fingerprint, save_fingerprints
from codetune.data.sources import SourceChunk, read_chunk
from codetune.data.words import word_hashes
from codetune.data_recipe import DataRecipe
from codetune.errors import UserError
from codetune.imports import uncollected
from codetune.records import Document, Json
from codetune.runs import read_json, whole_folder, write_json

DOCUMENTS, FINGERPRINTS, ACCOUNT, ARRAYS, OVERLAPS = "documents.parquet", "fingerprints.npz", "account.json", "arrays.npz", "overlaps.json"
OVERLAP = "overlaps a benchmark"
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source, and the folder that its results are in when it is done."""

    source: int  # which of the recipe's
    chunk: SourceChunk | CodeChunk
    folder: Path


@dataclass(frozen=True, slots=True)
class Done:
    """A part that is done: its source's number, the share of the source that is read with it, and how many documents are left of it."""

    source: int
    folder: Path
    share: float
    documents: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What every part is worked on with."""

    recipe: DataRecipe
    cleaner: Cleaner
    decontaminator: Decontaminator
    strict: bool


def clean_part(rules: Rules, part: Part) -> Done:
    """Work on one part, unless that is done. Its folder is there as a whole or not at all."""
    if part.folder.exists():
        if rules.strict and (bad := read_json(part.folder / ACCOUNT)["examples"].get(BAD_ROW)):
            raise UserError(f"{bad[0]['where']}: {bad[0]['detail']}")
        return Done(part.source, part.folder, part.chunk.share, pq.read_metadata(part.folder / DOCUMENTS).num_rows)
    account = Account()
    documents: list[Document] = []
    overlaps: list[Json] = []
    with uncollected():  # syntax trees have no cycles, and walking them again and again is a fifth of the time
        read = _read(part, account, rules.strict)
        while batch := list(itertools.islice(read, _BATCH)):  # small enough that trees of the batch are still there for the next rule
            kept, found = _decontaminated(_cleaned(batch, rules.cleaner, account), rules, account)
            documents += kept
            overlaps += found
        _store(part, documents, account, overlaps, rules.recipe)
    return Done(part.source, part.folder, part.chunk.share, len(documents))


def _read(part: Part, account: Account, strict: bool) -> Iterator[Document]:
    for item in read_chunk(part.chunk):
        account.rows += 1
        match item:
            case Document():
                yield item
            case BadRow(where, reason):
                if strict:
                    raise UserError(f"{where}: {reason}")
                account.leave_out(BAD_ROW, where, reason)
            case Skipped(where, reason):
                account.leave_out(reason, where)


def _cleaned(documents: Sequence[Document], cleaner: Cleaner, account: Account) -> list[Document]:
    kept = []
    for document, cleaned in zip(documents, cleaner.clean(documents), strict=True):
        account.masked.update(cleaned.masked)
        if cleaned.document is None:
            account.leave_out(cleaned.rule, where(document), cleaned.detail, document.whole)
        else:
            kept.append(cleaned.document)
    return kept


def _decontaminated(documents: Sequence[Document], rules: Rules, account: Account) -> tuple[list[Document], list[Json]]:
    """What stays, and every overlap that was found."""
    kept, rows = [], []
    for document, overlaps in zip(documents, rules.decontaminator.overlaps(documents), strict=True):
        account.overlaps.update(sorted({overlap.benchmark for overlap in overlaps}))
        rows += [
            {"document": document.id, "source": document.source, "benchmark": found.benchmark, "task_id": found.task_id,
             "rule": found.rule, "share": round(found.share, 4)}
            for found in overlaps
        ]  # fmt: skip
        if overlaps and rules.recipe.decontaminate.drop:
            first = overlaps[0]
            account.leave_out(OVERLAP, where(document), f"{first.task_id or first.benchmark} by {first.rule}", document.whole)
        else:
            kept.append(document)
    return kept, rows


def _store(part: Part, documents: Sequence[Document], account: Account, overlaps: list[Json], recipe: DataRecipe) -> None:
    texts = [document.whole for document in documents]
    arrays: dict[str, Any] = {
        "keys": keys_of(documents), "splits": own_splits(documents), "ranks": np.array([one.rank for one in documents], dtype=float),
        "words": np.diff(word_hashes(texts).offsets).astype(np.int32),
    }  # fmt: skip
    with whole_folder(part.folder) as unfinished:
        pq.write_table(to_table(documents), unfinished / DOCUMENTS, compression="zstd", compression_level=1)
        save_fingerprints(unfinished / FINGERPRINTS, fingerprint(texts, recipe.duplicates))
        with (unfinished / ARRAYS).open("wb") as file:
            np.savez(file, **arrays)
        write_json(unfinished / ACCOUNT, account.to_json())
        (unfinished / OVERLAPS).write_text(json.dumps(overlaps))


def where(document: Document) -> str:
    """What a person finds it by."""
    return document.origin or document.id
