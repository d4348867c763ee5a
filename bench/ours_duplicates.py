"""One measurement of codetune's search for near duplicates.

python -m bench.ours_duplicates texts.json speed|pairs THRESHOLD        run by bench/duplicates.py
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from codetune.data.similar.duplicates import find_duplicates, near_pairs
from codetune.data.similar.minhash import fingerprint, save_fingerprints
from codetune.data_recipe import DuplicatesConfig


def measure(texts: list[str], what: str, threshold: float) -> dict[str, Any]:
    """Texts to verified pairs, the file of fingerprints included; `deciding` is what `find_duplicates` takes in place of `finding`."""
    config = DuplicatesConfig(threshold=threshold)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fingerprints"
        save_fingerprints(path, fingerprint(texts[:10], config))
        near_pairs([path], config)
        started = time.process_time()
        save_fingerprints(path, fingerprint(texts, config))
        fingerprinted = time.process_time()
        left, right, _ = near_pairs([path], config)
        found = time.process_time()
        find_duplicates([path], [np.zeros(len(texts))], config)
        decided = time.process_time()
    return {
        "cpu_seconds": found - started, "steps": {"fingerprints": fingerprinted - started, "pairs": found - fingerprinted},
        "deciding": decided - found, "num_pairs": len(left), "versions": {"numpy": importlib.metadata.version("numpy")},
        "pairs": list(zip(left.tolist(), right.tolist(), strict=True)) if what == "pairs" else [],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], float(sys.argv[3]))))
