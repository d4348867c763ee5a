"""Damages inputs as files and messages get damaged: bytes lost, doubled and strewn in, JSON values replaced, renamed and nested.

`random.Random(seed)` decides everything, so that an input that fails can be made again.
"""

from __future__ import annotations

import copy
import os
import random
from typing import Any

# What readers stumble over: other line ends, marks of Unicode, numbers too long to convert, brackets that never end.
TOKENS = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\x1f\x8b", b"\r", b"\n", b"\n\n", b'"', b"'", b"\\", b"\\ud800",
    b"{", b"}", b"[", b"]", b",", b":", b"[]", b"{}", b"null", b"true", b"NaN", b"-Infinity", b"-0", b"1e999", b"9" * 5000,
    b"[" * 5000, b'{"a":' * 5000, b"[" * 150 + b"]" * 150, b'"task_id": 1, ', b'"completion": "", ',
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 10**30, float("nan"), float("inf"), "", " ", "0", "\0", "\ud800", "\u2028", "x" * 300, "é", "١٢",
    "9" * 5000, "\n", [], {}, [[]], [None], {"": None}, {"input": [1], "output": 2}, {"stdin": "", "stdout": ""}, "assert f() == 1",
)  # fmt: skip


def count(default: int) -> int:
    """How many inputs to try: CODETUNE_FUZZ where it is set (`make fuzz`), else `default`."""
    return int(os.environ.get("CODETUNE_FUZZ", default))


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """The data with one to three damages."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice((0, 1, 1, 2, 4, 30, 1000)))
        piece = rng.choice((b"", rng.choice(TOKENS), rng.randbytes(rng.randint(1, 4)), 2 * data[start:end], data[end:start:-1]))
        data = data[:start] + piece + data[end:]
    return data


def mutate_json(rng: random.Random, value: Any) -> Any:
    """A copy of the value with one to three damages at places of any depth."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _damaged(rng, value)
    return value


def _damaged(rng: random.Random, value: Any) -> Any:
    inside = rng.random() < 0.75
    if inside and isinstance(value, dict) and value:
        key = rng.choice(list(value))
        match rng.randrange(4):
            case 0:
                del value[key]
            case 1:
                value[_misspelt(rng, key)] = value.pop(key)
            case 2:
                value[_misspelt(rng, key)] = value[key]
            case _:
                value[key] = _damaged(rng, value[key])
        return value
    if inside and isinstance(value, list | tuple) and value:
        place = rng.randrange(len(value))
        before, item, after = value[:place], value[place], value[place + 1 :]
        kind = type(value)
        return before + kind(rng.choice(((), (item, item), (_damaged(rng, item),)))) + after
    if inside and isinstance(value, str):
        return _misspelt(rng, value)
    if inside and type(value) is int:
        return rng.choice((-value, value + 1, float(value), str(value), value << 70))
    return rng.choice((rng.choice(VALUES), [value], {"a": value}, _nested(rng, value), str(value)))


def _misspelt(rng: random.Random, text: str) -> str:
    place = rng.randint(0, len(text))
    dropped, doubled = text[:place] + text[place + 1 :], text[:place] + text[place - 1 :]
    return rng.choice((dropped, doubled, text.upper(), f" {text}", text + rng.choice("s\0\n'é")))


def _nested(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((3, 98, 99, 100, 101, 200))):
        value = [value]
    return value
