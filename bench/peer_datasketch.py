"""One measurement of datasketch's search for near duplicates, and of rensa's. Runs in the peers' environment.

bench/.venv-peers-data/bin/python -m bench.peer_datasketch texts.json speed|pairs THRESHOLD sha1|xxhash|rensa

Run by bench/duplicates.py. As their documentation does it: sets of shingles in Python, sketches in bulk, an index, a query for each
text. rensa is native code.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rensa
import xxhash
from datasketch import MinHash, MinHashLSH

NUM_PERM = 256
Found = tuple[list[float], list[tuple[int, int]], set[tuple[int, int]]]
_WORD = re.compile(rb"[a-z0-9_\x80-\xff]+")


def shingled(texts: list[str]) -> Iterator[list[bytes]]:
    """The distinct runs of five words of each text; all words of a text that has fewer."""
    for text in texts:
        words = _WORD.findall(text.encode("utf-8", "surrogatepass").lower())
        if len(words) < 5:
            yield [b" ".join(words)]
        else:
            yield list({b" ".join(run) for run in zip(words, words[1:], words[2:], words[3:], words[4:], strict=False)})


def search_datasketch(texts: list[str], threshold: float, hash_name: str) -> Found:
    """When each step was done; the pairs that the index gives; and those of them whose estimated similarity is high enough."""
    options = {"hashfunc": xxhash.xxh32_intdigest} if hash_name == "xxhash" else {}
    times = [time.process_time()]
    sets = list(shingled(texts))
    times.append(time.process_time())
    sketches = MinHash.bulk(sets, num_perm=NUM_PERM, **options)
    times.append(time.process_time())
    index = MinHashLSH(threshold=threshold, num_perm=NUM_PERM)
    with index.insertion_session() as session:
        for number, sketch in enumerate(sketches):
            session.insert(number, sketch)
    pairs = [(number, other) for number, sketch in enumerate(sketches) for other in index.query(sketch) if number < other]
    times.append(time.process_time())
    kept = {pair for pair in pairs if sketches[pair[0]].jaccard(sketches[pair[1]]) >= threshold}
    return times, pairs, kept


def search_rensa(texts: list[str], threshold: float) -> Found:
    """The same with rensa, in the bands that datasketch would choose, or the next number of them that divides the sketch."""
    chosen = MinHashLSH(threshold=threshold, num_perm=NUM_PERM).b
    bands = min(count for count in range(chosen, NUM_PERM + 1) if NUM_PERM % count == 0)
    times = [time.process_time()]
    sets = list(shingled(texts))
    times.append(time.process_time())
    sketches = []
    for shingles in sets:
        sketch = rensa.RMinHash(num_perm=NUM_PERM, seed=1)
        sketch.update(shingles)
        sketches.append(sketch)
    times.append(time.process_time())
    index = rensa.RMinHashLSH(threshold=threshold, num_perm=NUM_PERM, num_bands=bands)
    for number, sketch in enumerate(sketches):
        index.insert(number, sketch)
    pairs = [(number, other) for number, sketch in enumerate(sketches) for other in index.query(sketch) if number < other]
    times.append(time.process_time())
    kept = {pair for pair in pairs if sketches[pair[0]].jaccard(sketches[pair[1]]) >= threshold}
    return times, pairs, kept


def measure(texts: list[str], what: str, threshold: float, hash_name: str) -> dict[str, Any]:
    """Texts to pairs, step by step."""
    search = search_rensa if hash_name == "rensa" else lambda *given: search_datasketch(*given, hash_name)
    search(texts[:10], threshold)
    times, pairs, kept = search(texts, threshold)
    names = ("shingles", "sketches", "index and queries")
    return {
        "cpu_seconds": times[-1] - times[0], "num_pairs": len(pairs),
        "steps": {name: last - first for name, first, last in zip(names, times, times[1:], strict=False)},
        "versions": {name: importlib.metadata.version(name) for name in ("datasketch", "rensa", "xxhash", "numpy")},
        "pairs": pairs if what == "pairs" else [], "kept": sorted(kept) if what == "pairs" else [],
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], float(sys.argv[3]), sys.argv[4])))
