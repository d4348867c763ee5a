"""What the duplicates benchmark searches: Python files of this interpreter, and a sample of them with copies of known similarity.

The truth is found by another way than either side's: words by a regular expression, and every pair of texts counted.
"""

from __future__ import annotations

import random
import re
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

WORDS = 5  # in a shingle
EDITS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06)  # shares of words replaced in a copy: similarities of about 0.95 to 0.58
_WORD = re.compile(rb"[a-z0-9_\x80-\xff]+")
_ANY_WORD = re.compile(r"\w+", re.ASCII)


def python_files() -> list[Path]:
    """All .py files of the standard library and of site-packages, sorted."""
    paths = sysconfig.get_paths()
    roots = {Path(paths[name]).resolve() for name in ("stdlib", "purelib", "platlib")}
    return sorted({path for root in roots for path in root.rglob("*.py") if path.is_file()})


def read_texts(files: Sequence[Path], count: int) -> list[str]:
    """So many of the files, drawn with a fixed seed, as texts. Those without words are left out: they have no shingles."""
    drawn = random.Random(0).sample(files, len(files))
    texts: list[str] = []
    for path in drawn:
        if len(texts) == count:
            break
        text = path.read_bytes().decode("utf-8", "replace")
        if _ANY_WORD.search(text):
            texts.append(text)
    return texts


def with_copies(texts: Sequence[str], copies: int) -> list[str]:
    """The texts, and copies of the first of them of 100 words or more with words replaced, at each of the rates in turn."""
    rng = random.Random(1)
    long = [text for text in texts if len(_ANY_WORD.findall(text)) >= 100]
    return [*texts, *(edited(rng, long[number % len(long)], EDITS[number % len(EDITS)]) for number in range(copies))]


def edited(rng: random.Random, text: str, share: float) -> str:
    """The text with about this share of its words replaced by new ones."""
    return _ANY_WORD.sub(lambda word: f"new{rng.randrange(10**9)}" if rng.random() < share else word.group(), text)


def exact_pairs(texts: Sequence[str], threshold: float) -> set[tuple[int, int]]:
    """All pairs of texts whose sets of shingles have this Jaccard similarity or more, by counting what all pairs share."""
    ids: dict[tuple[bytes, ...], int] = {}
    rows, columns = [], []
    for number, text in enumerate(texts):
        words = _WORD.findall(text.encode("utf-8", "surrogatepass").lower())
        length = min(WORDS, len(words))
        for run in {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}:
            rows.append(number)
            columns.append(ids.setdefault(run, len(ids)))
    having = sparse.csr_matrix((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(len(texts), len(ids)))
    shared = sparse.triu(having @ having.T, 1).tocoo()
    sizes = np.bincount(rows, minlength=len(texts))
    alike = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data) >= threshold
    return set(zip(shared.row[alike].tolist(), shared.col[alike].tolist(), strict=True))


def pair_f1(found: set[tuple[int, int]], expected: set[tuple[int, int]]) -> dict[str, float]:
    """Precision, recall and F1 of pairs."""
    right = len(found & expected)
    precision, recall = right / max(1, len(found)), right / max(1, len(expected))
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / max(1e-300, precision + recall)}
