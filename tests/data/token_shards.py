"""Shards and what makes examples of them, for tests in several processes: without torch, so that workers start in a moment."""

from __future__ import annotations

import os
import re
import signal
import time
import zlib
from collections.abc import Iterator

import numpy as np

from codetune.data.tokenise import Encoded, TokenisedExamples

SHARDS = ["one shard", "", "and another", "much longer than the others are", "end"]


class Words:
    """A tokenizer of words and signs, without torch."""

    name_hash, bos_id, eos_id = "words", None, 0

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        return self.encode_continuation(text)

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        return [1 + zlib.crc32(word.encode()) % 1000 for word in re.findall(r"\w+|[^\w]", text)]


def letters_of(shard: str) -> Iterator[Encoded]:
    """Each word as an example, of which the first letter is a prompt."""
    for word in shard.split():
        yield [ord(letter) for letter in word], [at > 0 for at in range(len(word))]


def only_the_first_in_time(shard: str) -> Iterator[Encoded]:
    """All shards but the first take longer than a test waits."""
    time.sleep(0 if shard == SHARDS[0] else 60)
    yield from letters_of(shard)


def refused(shard: str) -> Iterator[Encoded]:
    raise AssertionError("not kept")


def killed(shard: str) -> Iterator[Encoded]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield from letters_of(shard)


def truncated(shard: str) -> Iterator[Encoded]:
    raise EOFError("Compressed file ended before the end-of-stream marker was reached")


class OddError(Exception):
    """Cannot be unpickled: pickle gives `__init__` one argument."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one}, {two}")


def odd(shard: str) -> Iterator[Encoded]:
    raise OddError(shard, "two parts")


def fails_at_the_end(shard: str) -> Iterator[Encoded]:
    return letters_of(shard) if shard != SHARDS[-1] else refused(shard)


def assert_same(got: TokenisedExamples, wanted: TokenisedExamples) -> None:
    for name in ("ids", "supervised", "offsets", "dropped_long"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name))
        assert np.asarray(getattr(got, name)).dtype == np.asarray(getattr(wanted, name)).dtype
