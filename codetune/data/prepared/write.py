"""The third stage: the documents that stay, as Parquet files by split, streamed from the parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codetune.data.files import sha256_of
from codetune.data.prepared.account import Account
from codetune.data.prepared.clean import ARRAYS, DOCUMENTS
from codetune.data.prepared.columns import REPEATS
from codetune.data.prepared.settle import Settled
from codetune.data.prepared.split import SPLITS
from codetune.records import Json


def write_splits(settled: Sequence[Settled], folder: Path, documents_per_file: int, accounts: Sequence[Account]) -> Json:
    """Write `train-00000.parquet` and so on into the folder; returns for each split its documents and files with their hashes."""
    written: Json = {}
    for number, split in enumerate(SPLITS):
        files, documents, repeated = [], 0, 0
        for index, table in enumerate(_cut(_kept(settled, number, accounts), documents_per_file)):
            path = folder / f"{split}-{index:05}.parquet"
            pq.write_table(table, path, compression="zstd")
            files.append({"file": path.name, "documents": len(table), "sha256": sha256_of(path)})
            documents += len(table)
            repeated += int(np.asarray(table[REPEATS]).sum())
        written[split] = {"documents": documents, "with_repeats": repeated, "files": files}
    return written


def _kept(settled: Sequence[Settled], split: int, accounts: Sequence[Account]) -> Iterator[pa.Table]:
    """What stays of each part in this split; counted as coming out."""
    for part in settled:
        mask = (part.splits == split) & (part.repeats > 0)
        if not mask.any():
            continue
        table = pq.read_table(part.folder / DOCUMENTS).filter(pa.array(mask))
        with np.load(part.folder / ARRAYS) as arrays:
            accounts[part.source].keep(arrays["words"][mask], table["licence"].to_pylist())
        table = table.set_column(table.column_names.index("split"), "split", pa.array([SPLITS[split]] * len(table)))
        yield table.append_column(REPEATS, pa.array(part.repeats[mask]))


def _cut(tables: Iterator[pa.Table], documents: int) -> Iterator[pa.Table]:
    """The same rows in tables of so many, the last with the rest."""
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        while count >= documents:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, documents).combine_chunks()
            waiting, count = [whole.slice(documents)], count - documents
    if count:
        yield pa.concat_tables(waiting).combine_chunks()
