"""Words of texts as 64-bit hashes, for whole shards at once in numpy: what near-duplicates and benchmark overlap are searched by.

A word is a run of letters, digits, underscores and bytes beyond ASCII, ASCII letters in lower case. A word's hash depends on its
bytes alone, so hashes may be kept and compared between runs and machines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_GROUP_BYTES = 1 << 19  # of text at a time, so that the passes over it stay in the processor's cache
_BASE = 0x9E3779B97F4A7C15
_CHUNK = 8  # bytes of a word that are hashed at once


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts, one after the other: those of text i are `hashes[offsets[i] : offsets[i + 1]]`."""

    hashes: Hashes  # [words]
    offsets: NDArray[np.int64]  # [texts + 1]


def word_hashes(texts: Sequence[str | bytes]) -> Words:
    """The hashes of every word, in order, of texts or of their UTF-8. Unpaired surrogates count as the bytes that they would be.

    >>> found = word_hashes(["Return x; return X", ""])
    >>> found.offsets.tolist(), len(set(found.hashes.tolist()))
    ([0, 4, 4], 2)
    """
    hashes, counts = [np.zeros(0, dtype=np.uint64)], [np.zeros(1, dtype=np.int64)]
    for group in _groups(texts):
        raw = b"\x00".join([b"", *group, b"", bytes(_CHUNK)]).translate(_FOLDED)  # zeros before, between and after
        found, starts = _hash_words(np.frombuffer(raw, dtype=np.uint8))
        ends = np.cumsum([len(text) + 1 for text in group], dtype=np.int64)
        hashes.append(found)
        counts.append(np.diff(np.searchsorted(starts, ends), prepend=0))
    return Words(np.concatenate(hashes), np.cumsum(np.concatenate(counts), dtype=np.int64))


def runs(words: Words, length: int) -> Words:
    """The hash of every run of `length` words within a text; texts that are shorter have none."""
    total = np.zeros(max(0, len(words.hashes) - length + 1), dtype=np.uint64)
    for offset in range(length):
        total *= np.uint64(_BASE)
        total += words.hashes[offset : offset + len(total)]
    counts = np.diff(words.offsets)
    within = np.ones(len(total), dtype=np.bool_)
    for missing in range(1, length):  # a run that begins at a text's last words goes on into the next text
        last = words.offsets[1:][counts >= missing] - missing
        within[last[last < len(total)]] = False
    offsets = np.concatenate([[0], np.cumsum(np.maximum(0, counts - length + 1))]).astype(np.int64)
    return Words(mixed(total[within]), offsets)


def spans(firsts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places first, first + 1, ... of several spans, one span after the other."""
    ends = np.cumsum(lengths)
    return np.asarray(np.repeat(firsts - ends + lengths, lengths) + np.arange(int(ends[-1]) if len(ends) else 0))


def mixed(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the value (SplitMix64's last steps; Steele et al. 2014)."""
    result = values ^ (values >> np.uint64(30))
    result *= np.uint64(0xBF58476D1CE4E5B9)
    result ^= result >> np.uint64(27)
    result *= np.uint64(0x94D049BB133111EB)
    result ^= result >> np.uint64(31)
    return result


def _groups(texts: Sequence[str | bytes]) -> Iterator[list[bytes]]:
    """The texts in UTF-8, as many at a time as are worked on together."""
    group: list[bytes] = []
    size = 0
    for text in texts:
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        group.append(raw)
        size += len(raw) + 32  # a list of empty texts ends, too
        if size >= _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _hash_words(raw: NDArray[np.uint8]) -> tuple[Hashes, NDArray[np.int64]]:
    """The hashes of the words of a byte string that has zeros between them and around them, and where each begins."""
    inside = raw != 0
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    edges += 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    chunks = np.ndarray((len(raw) - _CHUNK + 1,), dtype="<u8", buffer=raw, strides=(1,))  # the eight bytes from each place on
    hashes = chunks[starts] & _FIRST_BYTES.take(lengths, mode="clip")
    longer = np.flatnonzero(lengths > _CHUNK)
    if len(longer):
        more = (lengths[longer] - 1) // _CHUNK  # chunks after the first
        ends = np.cumsum(more)
        number = np.arange(1, ends[-1] + 1) - np.repeat(ends - more, more)  # 1, 2, ... within each word
        places = np.repeat(starts[longer], more) + _CHUNK * number
        left = np.repeat(lengths[longer], more) - _CHUNK * number
        rest = chunks[places] & _FIRST_BYTES.take(left, mode="clip")
        hashes[longer] = mixed(hashes[longer]) + np.add.reduceat(mixed(rest + number.astype(np.uint64) * np.uint64(_BASE)), ends - more)
    return mixed(hashes), starts


def _folded() -> bytes:
    """What each byte counts as: ASCII letters as lower case, what is in no word as zero."""
    return bytes(ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256)).translate(
        bytes(byte if byte > 127 or chr(byte).isalnum() or byte == ord("_") else 0 for byte in range(256))
    )


_FOLDED = _folded()
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(_CHUNK + 1)], dtype=np.uint64)
