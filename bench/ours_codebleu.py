"""One measurement of codetune's CodeBLEU in the published convention. Also runs in the peer's environment, on the peer's grammar.

python -m bench.ours_codebleu pairs.json each|corpus        run by bench/codebleu.py
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy as np

from codetune.score.codebleu import PUBLISHED, codebleu, count_pair, parts_of, total


def measure(pairs: list[tuple[str, str]], level: str) -> dict[str, object]:
    """Scores of each pair alone, or of the corpus, as rows of [total, n-grams, weighted n-grams, syntax, data flow]."""
    codebleu([("x = 1", ["y = 2"])])
    started = time.process_time()
    if level == "corpus":
        whole = codebleu([(completion, [reference]) for completion, reference in pairs])
        rows = [[whole.total, whole.ngram, whole.weighted_ngram, whole.syntax, whole.dataflow]]
    else:
        parts = parts_of(np.array([count_pair(completion, [reference]) for completion, reference in pairs]))
        rows = np.column_stack([total(parts, PUBLISHED), np.nan_to_num(parts)]).tolist()
    seconds = time.process_time() - started
    versions = {name: importlib.metadata.version(name) for name in ("tree-sitter", "tree-sitter-python")}
    return {"rows": rows, "cpu_seconds": seconds, "versions": versions}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])))
