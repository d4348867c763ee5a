"""Text to token ids, once: examples as flat memory-mapped arrays, made shard by shard and found again by what determines them."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from codetune.data.arrays import Stream, load_arrays, save_arrays
from codetune.data.shards import over_shards
from codetune.errors import UserError
from codetune.runs import write_atomically

CACHE_VERSION = 4
Encoded = tuple[Sequence[int], Sequence[bool]]  # ids, and which of them count for the loss
Shard = TypeVar("Shard")


class Example(NamedTuple):
    """Ids, which of them count for the loss, and whether the next example goes on with the same document."""

    ids: Sequence[int]
    supervised: Sequence[bool]
    continues: bool = False


@dataclass(frozen=True, slots=True)
class TokenisedExamples:
    """Examples one after the other: example i is `ids[offsets[i] : offsets[i + 1]]`."""

    ids: NDArray[np.int32]  # [tokens]
    supervised: NDArray[np.bool_]  # [tokens]: counts for the loss, if anything comes before it
    offsets: NDArray[np.int64]  # [examples + 1]
    dropped_long: int = 0
    continued: int = 0  # examples that end in the middle of their document, as it is longer than a row

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.offsets)

    def example(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def targets(self, index: int) -> NDArray[np.bool_]:
        """Which tokens are predicted under a loss: the supervised ones, but never the first, which nothing could predict."""
        flags = self.supervised[self.offsets[index] : self.offsets[index + 1]].copy()
        flags[:1] = False
        return flags

    @property
    def supervised_tokens(self) -> int:
        first = self.offsets[:-1][self.lengths > 0]
        return int(np.count_nonzero(self.supervised)) - int(np.count_nonzero(self.supervised[first]))


def cut(ids: Sequence[int], max_length: int) -> Iterator[Example]:
    """Plain code, which all counts for the loss, cut to examples of at most `max_length` tokens, none of them lost.

    The first token of each has no label, so a cut costs one label. A rest of one token would have none at all (and it is EOS): it takes
    another one from the piece before.
    """
    start = 0
    while start < len(ids):
        left = len(ids) - start
        stop = start + (max_length - 1 if left == max_length + 1 > 2 else max_length)
        piece = ids[start:stop]
        yield Example(piece, [True] * len(piece), continues=stop < len(ids))
        start = stop


def join(examples: Iterable[Sequence[int]], prompt_lengths: Sequence[int]) -> TokenisedExamples:
    """Token lists of which all but so many first tokens count for the loss."""
    return collect((ids, [at >= prompt for at in range(len(ids))]) for ids, prompt in zip(examples, prompt_lengths, strict=True))


def collect(encoded: Iterable[Encoded | Example], max_length: int | None = None) -> TokenisedExamples:
    """Examples as one record in memory; those that are longer than `max_length` are counted, never truncated."""
    ids, supervised, dropped_long, continued = [np.zeros(0, np.int32)], [np.zeros(0, np.bool_)], 0, 0
    for tokens, flags, continues in itertools.starmap(Example, encoded):
        if max_length is not None and len(tokens) > max_length:
            dropped_long += 1
            continue
        assert len(flags) == len(tokens), f"{len(flags)} flags for {len(tokens)} tokens"
        ids.append(np.asarray(tokens, dtype=np.int32))
        supervised.append(np.asarray(flags, dtype=np.bool_))
        continued += continues
    offsets = np.cumsum([len(array) for array in ids], dtype=np.int64)
    return TokenisedExamples(np.concatenate(ids), np.concatenate(supervised), offsets, dropped_long, continued)


def tokenise(
    shards: Sequence[Shard],
    make: Callable[[Shard], Iterable[Encoded | Example]],
    folder: Path,
    key: str,
    max_length: int,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, shards: None,
) -> TokenisedExamples:
    """The examples of all shards in order, memory-mapped from the folder, which is made unless it is there whole under the same key.

    `key` names all that determines the tokens. Each shard's examples are first a file of their own, so a run that was killed goes on
    from there; what comes out is the same to the byte, however many processes made it. Memory: one shard for each process. With
    several processes `make` and shards must be picklable. `progress` is told how many shards of how many are done.
    """
    with contextlib.suppress(UserError):
        return load_examples(folder, key)
    parts = folder.with_name(f".{folder.name}.parts")
    with _one_at_a_time(parts):
        with contextlib.suppress(UserError):
            return load_examples(folder, key)  # made by another process meanwhile
        files = [parts / f"{key}-{number}-of-{len(shards)}.npz" for number in range(len(shards))]
        sizes = {path: size for path in files if (size := _part_size(path)) is not None}
        waiting = [(path, shard) for path, shard in zip(files, shards, strict=True) if path not in sizes]
        progress(len(sizes), len(shards))
        with contextlib.closing(over_shards(partial(_make_part, make, max_length), waiting, processes)) as made:
            for path, size in made:
                sizes[path] = size
                progress(len(sizes), len(shards))
        _save(folder, key, files, [sizes[path] for path in files])
        shutil.rmtree(parts)
    return load_examples(folder, key)


def save_examples(folder: Path, examples: TokenisedExamples, key: str = "") -> None:
    """Write examples as arrays to be memory-mapped; the folder is whole or absent."""
    arrays = {name: Stream.of(getattr(examples, name)) for name in ("ids", "supervised", "offsets")}
    save_arrays(folder, arrays, _about(key, len(examples), len(examples.ids), examples.dropped_long, examples.continued))


def load_examples(folder: Path, key: str | None = None) -> TokenisedExamples:
    """What `save_examples` or `tokenise` wrote. Raises UserError where it is missing, damaged or of another key."""
    arrays, about = load_arrays(folder)
    if key not in (None, about["key"]):
        raise UserError(f"{folder} holds other tokens: remove it, or choose another folder")
    return TokenisedExamples(**arrays, dropped_long=about["dropped_long"], continued=about["continued"])


Size = tuple[int, int, int, int]  # examples, tokens, dropped_long, continued
_COUNTS = ("dropped_long", "continued")


def _make_part(make: Callable[[Any], Iterable[Encoded | Example]], max_length: int, job: tuple[Path, Any]) -> tuple[Path, Size]:
    """One shard's examples as a file."""
    path, shard = job
    made = collect(make(shard), max_length)
    arrays = {"ids": made.ids, "supervised": made.supervised, "lengths": made.lengths}
    arrays |= {name: np.asarray(getattr(made, name)) for name in _COUNTS}
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    return path, (len(made), len(made.ids), made.dropped_long, made.continued)


def _part_size(path: Path) -> Size | None:
    """The size of a part that is there and undamaged (zip files know their checksums)."""
    try:
        with np.load(path) as part:
            arrays = {name: part[name] for name in ("ids", "supervised", "lengths", *_COUNTS)}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile):
        return None
    return len(arrays["lengths"]), len(arrays["ids"]), int(arrays["dropped_long"]), int(arrays["continued"])


def _save(folder: Path, key: str, parts: Sequence[Path], sizes: Sequence[Size]) -> None:
    """All parts as one folder, copied one after the other."""
    examples, tokens, *counts = (sum(column) for column in zip((0, 0, 0, 0), *sizes, strict=True))
    arrays = {
        "ids": Stream("<i4", tokens, _members(parts, "ids")),
        "supervised": Stream("|b1", tokens, _members(parts, "supervised")),
        "offsets": Stream("<i8", examples + 1, _offsets(parts)),
    }
    save_arrays(folder, arrays, _about(key, examples, tokens, *counts))


def _about(key: str, examples: int, tokens: int, dropped_long: int, continued: int) -> dict[str, Any]:
    return {"key": key, "examples": examples, "tokens": tokens, "dropped_long": dropped_long, "continued": continued}


def _members(parts: Iterable[Path], name: str) -> Iterator[NDArray[Any]]:
    for path in parts:
        with np.load(path) as part:
            yield part[name]


def _offsets(parts: Iterable[Path]) -> Iterator[NDArray[np.int64]]:
    last = np.zeros(1, dtype=np.int64)
    yield last
    for lengths in _members(parts, "lengths"):
        offsets = np.cumsum(lengths, dtype=np.int64) + last
        yield offsets
        last = offsets[-1:] if len(offsets) else last


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process holds the folder, then hold it; a killed holder's lock is gone with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
