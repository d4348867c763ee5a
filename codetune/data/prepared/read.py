"""A prepared folder, read again: its manifest, and its documents split by split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from codetune.data.prepared.columns import REPEATS, to_documents
from codetune.data.prepared.split import SPLITS
from codetune.errors import UserError, nearest
from codetune.records import Document, Json
from codetune.runs import read_json

MANIFEST, CARD, OVERLAP_FILE, TOKENS = "manifest.json", "README.md", "overlap.jsonl", "tokens.json"
FORMAT = "codetune-data"


def is_prepared(path: Path) -> bool:
    """Whether `codetune data prepare` wrote this folder, to its end."""
    if not (path / MANIFEST).is_file():
        return False
    manifest = read_json(path / MANIFEST)
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def read_manifest(path: Path) -> Json:
    """What a prepared folder says of itself, with the numbers of its tokens where they are made."""
    if not is_prepared(path):
        raise UserError(f"{path} is no prepared data: make it with `codetune data prepare RECIPE`")
    tokens = {"tokens": read_json(path / TOKENS)} if (path / TOKENS).exists() else {}
    return dict(read_json(path / MANIFEST)) | tokens


def files_of(path: Path, split: str) -> list[Path]:
    """The Parquet files of a split, in order. Raises UserError for an unknown split, and for a file that is gone."""
    if split not in SPLITS:
        raise UserError(f"{path}: no split {split!r} ({nearest(split, SPLITS)})")
    files = [path / one["file"] for one in read_manifest(path)["splits"][split]["files"]]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{path}: {missing[0]} of its manifest is gone: prepare it again")
    return files


def read_file(file: Path) -> Iterator[Document]:
    """The documents of one Parquet file, each as often as it stands in the data, in bounded memory."""
    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=1000):
                table = pa.Table.from_batches([batch])
                repeats = table[REPEATS].to_pylist() if REPEATS in table.column_names else [1] * len(table)
                for document, count in zip(to_documents(table), repeats, strict=True):
                    for _ in range(count):
                        yield document
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())}): prepare it again") from None
