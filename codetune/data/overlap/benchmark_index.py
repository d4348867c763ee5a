"""The rule that the shipped base model's corpus was decontaminated by: a run of 13 words in common with any text of a benchmark.

13 words are GPT-3's rule (Brown et al. 2020, appendix C), words being runs of letters, digits and underscores in lower case. A
benchmark text of 8 to 12 words counts as one run of its own length. Everything else is decontaminated by `decontaminate`.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from codetune.records import Problem

RUN_WORDS = 13
SHORTEST_RUN = 8
_WORD = re.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so its powers never vanish modulo 2^64


class BenchmarkIndex:
    """Hashes of all word runs of the benchmarks, by length of the run."""

    def __init__(self) -> None:
        self._runs: dict[int, dict[int, str]] = defaultdict(dict)
        self._sorted: dict[int, NDArray[np.uint64]] = {}

    def add(self, benchmark: str, texts: Iterable[str]) -> None:
        for text in texts:
            hashes = _word_hashes(text)
            length = min(RUN_WORDS, len(hashes))
            if length >= SHORTEST_RUN:
                for value in _run_hashes(hashes, length).tolist():
                    self._runs[length].setdefault(value, benchmark)
        self._sorted.clear()

    def add_problems(self, benchmark: str, problems: Iterable[Problem]) -> None:
        """Index what a benchmark asks and what it expects: the instruction, and the whole reference program."""
        for problem in problems:
            self.add(benchmark, (problem.instruction, problem.prompt, problem.reference))

    def overlap(self, text: str) -> str:
        """The benchmark that the text shares a run of words with, or an empty string."""
        hashes = _word_hashes(text)
        for length, runs in self._runs.items():
            if len(hashes) < length:
                continue
            if length not in self._sorted:
                self._sorted[length] = np.sort(np.fromiter(runs, dtype=np.uint64))
            found = _run_hashes(hashes, length)
            known = self._sorted[length]
            at = np.searchsorted(known, found)
            hit = np.flatnonzero(known[np.minimum(at, len(known) - 1)] == found)
            if hit.size:
                return runs[int(found[hit[0]])]
        return ""


def _word_hashes(text: str) -> NDArray[np.uint64]:
    return np.array([_word_hash(word) for word in _WORD.findall(text.lower())], dtype=np.uint64)


@cache
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _run_hashes(words: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """A polynomial hash, modulo 2^64, of every run of `length` words."""
    total = np.zeros(len(words) - length + 1, dtype=np.uint64)
    for offset in range(length):
        total = total * _BASE + words[offset : offset + len(total)]
    return total
