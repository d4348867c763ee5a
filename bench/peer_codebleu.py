"""One measurement of the codebleu package. Runs in the peer's environment.

bench/.venv-peers-codebleu/bin/python -m bench.peer_codebleu pairs.json each|corpus        run by bench/codebleu.py
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from codebleu import calc_codebleu

PARTS = ("codebleu", "ngram_match_score", "weighted_ngram_match_score", "syntax_match_score", "dataflow_match_score")


def measure(pairs: list[tuple[str, str]], level: str) -> dict[str, Any]:
    """Scores of each pair alone, or of the corpus, as rows of the five values."""
    logging.disable(logging.WARNING)  # one per pair without data flow
    warnings.simplefilter("ignore")
    calc_codebleu([["y = 2"]], ["x = 1"], "python")
    references, completions = [[reference] for _, reference in pairs], [completion for completion, _ in pairs]
    started = time.process_time()
    if level == "corpus":
        found = [calc_codebleu(references, completions, "python")]
    else:
        found = [calc_codebleu([reference], [completion], "python") for completion, reference in zip(completions, references, strict=True)]
    seconds = time.process_time() - started
    versions = {name: importlib.metadata.version(name) for name in ("codebleu", "tree-sitter", "tree-sitter-python")}
    return {"rows": [[float(row[part]) for part in PARTS] for row in found], "cpu_seconds": seconds, "versions": versions}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])))
