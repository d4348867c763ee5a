"""One measurement of codetune's packing, with or without writing the packed tokens.

python -m bench.ours_packing FOLDER ROW_TOKENS rows|gathered        run by bench/packing.py
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetune.data.pack import PackedRows, best_fit_decreasing


def cut_offsets(offsets: NDArray[np.int64], row_tokens: int) -> NDArray[np.int64]:
    """Offsets of documents with those that are longer than a row cut to pieces, as `codetune.data.tokenise.cut` has them."""
    fragments = -(-np.diff(offsets) // row_tokens)
    first = np.repeat(np.cumsum(fragments) - fragments, fragments)
    return np.append(np.repeat(offsets[:-1], fragments) + (np.arange(len(first)) - first) * row_tokens, offsets[-1])


def gather(ids: NDArray[np.int32], offsets: NDArray[np.int64], rows: PackedRows) -> NDArray[Any]:
    """The tokens of all rows, one after the other."""
    begins, ends = offsets[rows.examples].tolist(), offsets[rows.examples + 1].tolist()
    return np.concatenate([ids[begin:end] for begin, end in zip(begins, ends, strict=True)])


def measure(folder: Path, row_tokens: int, how: str) -> dict[str, Any]:
    """Rows, what they lost, CPU seconds from document offsets to rows (and their tokens)."""
    ids, offsets = np.load(folder / "ids.npy"), np.load(folder / "offsets.npy")
    best_fit_decreasing([1, 2], 2)
    started = time.process_time()
    pieces = cut_offsets(offsets, row_tokens)
    rows = best_fit_decreasing(np.diff(pieces), row_tokens)
    packed = gather(ids, pieces, rows) if how == "gathered" else None
    seconds = time.process_time() - started
    packed = gather(ids, pieces, rows) if packed is None else packed
    lost = int(np.abs(np.bincount(ids) - np.bincount(packed, minlength=int(ids.max()) + 1)).sum())
    versions = {name: importlib.metadata.version(name) for name in ("codetune", "numpy")}
    return {"rows": len(rows), "tokens_lost": lost, "cpu_seconds": seconds, "versions": versions}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
