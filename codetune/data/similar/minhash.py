"""Fingerprints of texts, from which equal and similar ones are found without reading the texts again.

A text's shingles are its runs of `shingle_words` words, of which it is the set; a text of fewer words has one, all of them. One
permutation hashing (Li, Owen, Zhang 2012) takes the sketch from the set itself: of each of 256 ranges of hashes the smallest. Ranges
that a small set leaves empty borrow from another, which is another one for each range (optimal densification, Shrivastava 2017).
Texts of Jaccard similarity s agree in each place of the sketch with probability s; `rows` places make a band, and texts that agree in
a whole band are candidates. Everything depends on the texts and the settings alone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from codetune.data.words import Words, mixed, runs, word_hashes
from codetune.data_recipe import DuplicatesConfig
from codetune.errors import UserError
from codetune.runs import write_atomically

Numbers = NDArray[np.int64]
Short = NDArray[np.uint32]  # hashes of 32 bits

BINS = 256
_BIN_SHIFT = np.uint32(24)  # what is left of a shingle's hash is its bin
_MISSED = 1e-4  # the share of pairs just at the threshold that may have no band in common
_GROUP_CHARACTERS = 1 << 18  # of text at a time, so that the passes over it stay in the processor's cache
_TEXT_COST = 128  # characters that a text counts at least: what is kept of it meanwhile does not shrink with it
_FEW = 96  # filled bins, from which on the empty ones ask one after the other
_ROUNDS = 12  # of asking, before each looks through all that there is
_SKETCHED = 512  # texts at a time
_FORMAT = 0x6E696C7065726966  # of the files; another number where what is in them means something else
_HEAD_BYTES = 48
_SPACE = bytes(byte for byte in range(128) if chr(byte).isspace())
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What is kept of a shard's texts: about 220 bytes for each, and 4 for each shingle."""

    settings: tuple[int, int]  # words in a shingle, rows in a band
    exact: NDArray[np.uint64]  # [texts, 2]: of the text, white space aside
    offsets: Numbers  # [texts + 1]: text i has shingles[offsets[i] : offsets[i + 1]]
    shingles: Short  # distinct and in order
    bands: Short  # [bands, texts]

    @property
    def texts(self) -> int:
        return len(self.exact)


def settings_of(config: DuplicatesConfig) -> tuple[int, int]:
    """Words in a shingle, and rows in a band: the most with which all but one in 10,000 pairs at the threshold meet in some band.

    >>> settings_of(DuplicatesConfig())
    (5, 5)
    """
    enough = [rows for rows in range(1, BINS + 1) if (1 - config.threshold**rows) ** (BINS // rows) <= _MISSED]
    return config.shingle_words, max(enough, default=1)


def fingerprint(texts: Sequence[str], config: DuplicatesConfig) -> Fingerprints:
    """The fingerprints of a shard's texts, in order."""
    words, rows = settings_of(config)
    exact, shingles, counts = [b""], [np.zeros(0, dtype=np.uint32)], [np.zeros(1, dtype=np.int64)]
    for group in _groups(texts):
        encoded = [text.encode("utf-8", "surrogatepass") for text in group]
        exact.extend(map(exact_hash, encoded))
        distinct, ends = _distinct(_shingles(word_hashes(encoded), words))
        shingles.append(distinct)
        counts.append(np.diff(ends))
    found, offsets = np.concatenate(shingles), np.cumsum(np.concatenate(counts))
    bands = [np.zeros((BINS // rows, 0), dtype=np.uint32)]
    for first in range(0, len(texts), _SKETCHED):
        edges = offsets[first : first + _SKETCHED + 1]
        bands.append(_bands(_sketches(found[edges[0] : edges[-1]], edges - edges[0]), rows))
    hashes = np.frombuffer(b"".join(exact), dtype="<u8").reshape(-1, 2)
    return Fingerprints((words, rows), hashes, offsets, found, np.concatenate(bands, axis=1))


def exact_hash(raw: bytes) -> bytes:
    """16 bytes of a text in UTF-8, white space aside."""
    solid = raw.translate(None, _SPACE)
    if not solid.isascii():
        solid = "".join(solid.decode("utf-8", "surrogatepass").split()).encode("utf-8", "surrogatepass")
    return hashlib.sha256(solid).digest()[:16]


def save_fingerprints(path: Path, found: Fingerprints) -> None:
    """One file, written whole or not at all."""
    head = np.array([_FORMAT, *found.settings, found.texts, len(found.shingles), len(found.bands)], dtype="<i8")

    def write(file: BinaryIO) -> None:
        for array in (head, found.exact, found.offsets, found.shingles, found.bands):
            file.write(np.ascontiguousarray(array).data)

    write_atomically(path, write)


def load_fingerprints(path: Path) -> Fingerprints:
    """Fingerprints as they were saved, memory-mapped. Raises UserError where the file is missing or damaged."""
    try:
        raw = np.memmap(path, np.uint8, "r")
    except FileNotFoundError:
        raise UserError(f"no file {path}: it holds the fingerprints of a shard; make them anew") from None
    except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
        raw = None
    if raw is not None and (found := _parsed(np.asarray(raw))):
        return found
    raise UserError(f"{path} is damaged, or of another version: remove it to have it made again")


def _parsed(raw: NDArray[np.uint8]) -> Fingerprints | None:
    """Views into the bytes of a file; None where lengths and offsets do not fit."""
    if len(raw) < _HEAD_BYTES:
        return None
    form, words, rows, texts, shingles, bands = raw[:_HEAD_BYTES].view("<i8").tolist()
    lengths = (_HEAD_BYTES, 16 * texts, 8 * (texts + 1), 4 * shingles, 4 * bands * texts)
    if form != _FORMAT or min(texts, shingles, bands) < 0 or sum(lengths) != len(raw):
        return None
    edges = list(itertools.accumulate(lengths))
    exact, offsets, hashes, keys = (raw[first:last] for first, last in itertools.pairwise(edges))
    places: Numbers = offsets.view("<i8")
    if places[0] != 0 or places[-1] != shingles or (np.diff(places) < 0).any():
        return None
    return Fingerprints((words, rows), exact.view("<u8").reshape(-1, 2), places, hashes.view("<u4"), keys.view("<u4").reshape(bands, texts))


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    first = size = 0
    for number, text in enumerate(texts):
        size += len(text) + _TEXT_COST
        if size >= _GROUP_CHARACTERS:
            yield texts[first : number + 1]
            first, size = number + 1, 0
    if first < len(texts):
        yield texts[first:]


def _shingles(words: Words, length: int) -> Words:
    """The runs of `length` words; all words of a text that has fewer."""
    found, counts = runs(words, length), np.diff(words.offsets)
    short = np.flatnonzero((counts > 0) & (counts < length))
    if not len(short):
        return found
    whole = np.zeros(len(short), dtype=np.uint64)
    for position in range(length - 1):
        there = counts[short] > position
        whole[there] = whole[there] * _BASE + words.hashes[words.offsets[short[there]] + position]
    counts = np.diff(found.offsets)
    counts[short] = 1
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Words(np.insert(found.hashes, found.offsets[short], mixed(whole)), offsets)


def _distinct(found: Words) -> tuple[Short, Numbers]:
    """Of each text the set of its shingles' hashes, in order; 32 bits are enough within a pair of texts."""
    hashes = (found.hashes >> np.uint64(32)).astype(np.uint32)
    edges = found.offsets.tolist()
    for first, last in itertools.pairwise(edges):  # a sort of each is several times faster than one of all
        hashes[first:last].sort()
    fresh = np.ones(len(hashes) + 1, dtype=np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=fresh[1:-1])
    fresh[found.offsets] = True  # the first of each text; the last place is there for texts without any
    kept = np.concatenate([[0], np.cumsum(fresh[:-1])])
    return hashes[fresh[:-1]], kept[found.offsets].astype(np.int64)


def _sketches(shingles: Short, offsets: Numbers) -> Short:
    """[texts, bins]: the smallest hash of each bin; of an empty bin, that of the first bin in its order that is not empty."""
    bins = shingles >> _BIN_SHIFT
    first = np.ones(len(shingles) + 1, dtype=np.bool_)
    np.not_equal(bins[1:], bins[:-1], out=first[1:-1])
    first[offsets] = True
    places = np.flatnonzero(first[:-1])
    counts = np.diff(np.searchsorted(places, offsets))
    cells = np.repeat(np.arange(len(counts)) * BINS, counts) + bins[places]
    sketches = np.zeros(len(counts) * BINS, dtype=np.uint32)
    filled = np.zeros(len(sketches), dtype=np.bool_)
    sketches[cells] = shingles[places]
    filled[cells] = True
    empty = np.flatnonzero(~filled)
    empty = empty[counts[empty // BINS] >= _FEW]
    for attempt in range(1, _ROUNDS):
        lender = (empty // BINS) * BINS + _ORDER[empty % BINS, attempt]
        able = filled[lender]
        sketches[empty[able]] = sketches[lender[able]]
        empty = empty[~able]
    left = (counts > 0) & (counts < _FEW)
    left[empty // BINS] = True
    found = sketches.reshape(-1, BINS)
    _borrow(found, filled.reshape(-1, BINS), counts, np.flatnonzero(left))
    return found


def _borrow(sketches: Short, filled: NDArray[np.bool_], counts: Numbers, rows: Numbers) -> None:
    """Fill some rows at once: each bin looks through all that its row has. Costs less than asking around where that is little."""
    rows = rows[np.argsort(-counts[rows], kind="stable")]
    if not len(rows):
        return
    lenders = np.flatnonzero(filled[rows]) % BINS
    starts = np.cumsum(counts[rows]) - counts[rows]
    best = np.full((len(rows), BINS), BINS - 1, dtype=np.uint8)
    for number, having in enumerate(_more_than(counts[rows])):
        np.minimum(best[:having], _RANK.take(lenders[starts[:having] + number], axis=0), out=best[:having])
    sketches[rows] = np.take_along_axis(sketches[rows], _ORDER[np.arange(BINS), best], axis=1)


def _more_than(descending: Numbers) -> list[int]:
    """How many of the numbers are more than 0, more than 1, ... up to the largest."""
    found: list[int] = np.searchsorted(-descending, -np.arange(descending[0]), side="left").tolist()
    return found


def _bands(sketches: Short, rows: int) -> Short:
    """[bands, texts]: a hash of each band's places."""
    bands = BINS // rows
    keys = np.zeros((len(sketches), bands), dtype=np.uint64)
    for row in range(rows):
        keys *= _BASE
        keys += sketches[:, row : rows * bands : rows]
    return np.ascontiguousarray((mixed(keys) >> np.uint64(32)).astype(np.uint32).T)


def _orders() -> tuple[Numbers, NDArray[np.uint8]]:
    """[bin, place]: for each bin all bins in an order of its own, itself first; [bin, borrower]: where a bin stands in each order."""
    values = mixed(np.arange(1, BINS * BINS + 1, dtype=np.uint64) * _BASE).reshape(BINS, BINS)
    np.fill_diagonal(values, 0)
    order = np.argsort(values, axis=1, kind="stable")
    return order, np.ascontiguousarray(np.argsort(order, axis=1).T.astype(np.uint8))


_ORDER, _RANK = _orders()
