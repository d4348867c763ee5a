"""Plain data in the interpreter's own format (marshal), which is fast, for readers that trust the writer; else in wire.py's.

Equal bytes are equal values of equal types (an array of bytes counts as bytes), so an answer of the expected bytes need not be
read. Different bytes say nothing: dictionaries and sets may differ in their order, and 1 equals 1.0.
"""

from __future__ import annotations

import array
import marshal
from collections.abc import Sequence
from typing import Any, NamedTuple

from codetune.sandbox import wire

_VERSION = 2  # the last one whose bytes do not depend on who else refers to an object


def snapshot(value: Any) -> bytes:
    """The value as it is now; empty for what is not plain by its exact types."""
    try:
        return b"m" + marshal.dumps(value, _VERSION)
    except ValueError:
        return b""


def pack(value: Any) -> bytes:
    """Plain data of whatever kind wire.py sends. Raises WireError."""
    return snapshot(value) or b"w" + wire.dumps(value)


def unpack(data: bytes) -> Any:
    """What was packed. Never for bytes from a candidate: hostile ones can crash the interpreter."""
    return marshal.loads(data[1:]) if data[:1] == b"m" else wire.loads(data[1:])


class Calls(NamedTuple):
    """Many calls of one function at once, with what is expected of each."""

    inputs: bytes  # packed list of tuples of arguments
    expected: bytes  # joined packed values
    tolerances: list[float]


def join(parts: Sequence[bytes]) -> bytes:
    """Several byte strings as one: their number, their lengths, then all of them."""
    return array.array("Q", [len(parts), *map(len, parts)]).tobytes() + b"".join(parts)


def split(data: bytes) -> list[bytes]:
    """What was joined. Raises WireError for anything else."""
    count = int.from_bytes(data[:8], "little")
    if count > len(data) // 8:
        raise wire.WireError("a number of parts beyond the end")
    start, parts = 8 * (count + 1), []
    for length in memoryview(data)[8:start].cast("Q") if start <= len(data) else ():
        parts.append(data[start : start + length])
        start += length
    if len(parts) != count or start != len(data):
        raise wire.WireError("parts that do not fit")
    return parts
