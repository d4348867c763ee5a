"""One measurement of TRL's `bfd_split`. Runs in the peers' environment.

bench/.venv-peers/bin/python -m bench.peer_trl_packing FOLDER ROW_TOKENS function|whole|defaults        run by bench/packing.py
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from trl import data_utils


def measure(folder: Path, row_tokens: int, how: str) -> dict[str, Any]:
    """Rows, what they lost, CPU seconds from an Arrow table of documents to one of rows, which stays in memory.

    `function` is what `pack_dataset` maps over batches, on the whole table and without datasets' own work; `whole` is `pack_dataset`
    with one batch; `defaults` is `pack_dataset` as the trainer calls it: batches of 1,000 documents, each packed by itself.
    """
    datasets.disable_progress_bars()
    datasets.disable_caching()
    ids, offsets = np.load(folder / "ids.npy"), np.load(folder / "offsets.npy")
    table = pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(ids))})
    given = datasets.Dataset(table)
    started = time.process_time()
    if how == "function":
        packed = data_utils._pack_bfd(table, row_tokens, "split")
    else:
        options = {"batch_size": None} if how == "whole" else {}
        packed = data_utils.pack_dataset(given, row_tokens, "bfd_split", {"keep_in_memory": True, **options}).data.table
    seconds = time.process_time() - started
    values = packed["input_ids"].combine_chunks().flatten().to_numpy()
    lost = int(np.abs(np.bincount(ids) - np.bincount(values, minlength=int(ids.max()) + 1)).sum())
    versions = {name: importlib.metadata.version(name) for name in ("trl", "datasets", "pyarrow")}
    return {"rows": packed.num_rows, "tokens_lost": lost, "cpu_seconds": seconds, "versions": versions}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
