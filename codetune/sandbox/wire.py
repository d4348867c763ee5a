"""The tagged wire format between checker and candidate: plain data by value, everything else as a numbered reference.

A value is one tag byte and its body. `dumps` never calls a method that a subclass could override; `loads` takes bytes from a
hostile sender and either returns plain data or raises `WireError`. Nothing here imports anything of codetune, because the
sandbox's interpreter loads it alone.
"""

from __future__ import annotations

import array
import builtins
import datetime
import itertools
import socket
import struct
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_DEPTH = 200  # nested containers; the interpreter's own comparisons recurse as deep as the data
MAX_BYTES = 32 << 20  # one message

_LENGTH = struct.Struct(">I")
_DOUBLE = struct.Struct(">d")

# Standard value types that are rebuilt from plain parts on the other side, so that they compare by value there.
_VALUE_TYPES: dict[str, tuple[type, Callable[[Any], tuple[Any, ...]]]] = {
    "bytearray": (bytearray, lambda x: (bytes(x),)),
    "range": (range, lambda x: (x.start, x.stop, x.step)),
    "slice": (slice, lambda x: (x.start, x.stop, x.step)),
    "Decimal": (Decimal, lambda x: (str(x),)),
    "Fraction": (Fraction, lambda x: (x.numerator, x.denominator)),
    "datetime": (datetime.datetime, lambda x: (x.year, x.month, x.day, x.hour, x.minute, x.second, x.microsecond)),
    "date": (datetime.date, lambda x: (x.year, x.month, x.day)),
    "time": (datetime.time, lambda x: (x.hour, x.minute, x.second, x.microsecond)),
    "timedelta": (datetime.timedelta, lambda x: (x.days, x.seconds, x.microseconds)),
    "deque": (deque, lambda x: (list(x), x.maxlen)),
}
_VALUE_NAMES = {cls: name for name, (cls, _) in _VALUE_TYPES.items()}
_BUILTIN_TYPES = {name: value for name, value in vars(builtins).items() if isinstance(value, type) and not name.startswith("_")}
_BUILTIN_NAMES = {value: name for name, value in reversed(_BUILTIN_TYPES.items())}


_RUN_CODES = {b"I": "q", b"D": "d"}  # runs of numbers of one type in a container: array's code for 8 bytes each
_LEAST_RUN = 8


class WireError(Exception):
    """The bytes are not a value of this format, or a value does not fit into it."""


Export = Callable[[Any], tuple[str, int, str]]  # object -> (kind, number, type name); may raise WireError
Resolve = Callable[[str, int, str], Any]  # the other way round


def _refuse_export(value: Any) -> tuple[str, int, str]:
    raise WireError(f"{type(value).__name__} is not plain data")


def _refuse_resolve(kind: str, number: int, name: str) -> Any:
    raise WireError("a reference where plain data was expected")


class _Writer:
    """Collects the parts of one value."""

    def __init__(self, export: Export) -> None:
        self.parts: list[bytes] = []
        self.export = export

    def sized(self, tag: bytes, body: bytes) -> None:
        self.parts.append(tag + _LENGTH.pack(len(body)) + body)

    def many(self, tag: bytes, items: Any, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise WireError(f"nested deeper than {MAX_DEPTH}")
        items = list(items)
        self.parts.append(tag + _LENGTH.pack(len(items)))
        done = 0
        for kind, same in itertools.groupby(map(type, items)) if len(items) >= _LEAST_RUN else ():
            count = sum(1 for _ in same)
            if not (count >= _LEAST_RUN and self.run(kind, items[done : done + count])):
                self.each(items[done : done + count], depth)
            done += count
        self.each(items[done:], depth)

    def each(self, items: list[Any], depth: int) -> None:
        for item in items:
            self.put(item, depth + 1)

    def run(self, kind: type, numbers: list[Any]) -> bool:
        """Many numbers of one type at once; says no to other types, and where one does not fit into 8 bytes."""
        tag, code = (b"I", "q") if kind is int else (b"D", "d")
        try:
            body = array.array(code, numbers).tobytes() if kind is int or kind is float else b""
        except OverflowError:
            return False
        if body:
            self.sized(tag, body)
        return bool(body)

    def put(self, x: Any, depth: int = 0) -> None:
        if x is None or x is True or x is False:
            self.parts.append(b"N" if x is None else b"T" if x else b"F")
        elif isinstance(x, int):
            number = int.__int__(x)
            self.sized(b"i", number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))
        elif isinstance(x, str):
            self.sized(b"s", str.__str__(x).encode("utf-8", "surrogatepass"))
        elif isinstance(x, float):
            self.parts.append(b"f" + _DOUBLE.pack(float.__float__(x)))
        elif isinstance(x, complex):
            plain = complex.__complex__(x)
            self.parts.append(b"c" + _DOUBLE.pack(plain.real) + _DOUBLE.pack(plain.imag))
        elif isinstance(x, bytes):
            self.sized(b"b", bytes.__getitem__(x, slice(None)))
        else:
            self.container(x, depth)

    def container(self, x: Any, depth: int) -> None:
        if isinstance(x, list):
            self.many(b"l", list.__iter__(x), depth)
        elif isinstance(x, tuple):
            self.many(b"t", tuple.__iter__(x), depth)
        elif isinstance(x, dict):
            pairs = list(dict.items(x))
            self.many(b"d", [part for pair in pairs for part in pair], depth)
        elif isinstance(x, set):
            self.many(b"S", set.__iter__(x), depth)
        elif isinstance(x, frozenset):
            self.many(b"Z", frozenset.__iter__(x), depth)
        elif type(x) is type and x in _BUILTIN_NAMES:
            self.sized(b"B", _BUILTIN_NAMES[x].encode())
        elif type(x) in _VALUE_NAMES and getattr(x, "tzinfo", None) is None:
            name = _VALUE_NAMES[type(x)]
            self.sized(b"V", name.encode())
            self.many(b"t", _VALUE_TYPES[name][1](x), depth)
        else:
            kind, number, name = self.export(x)
            self.parts.append(b"R" + kind.encode("ascii")[:1] + _LENGTH.pack(number))
            self.sized(b"s", name.encode("utf-8", "replace")[:200])


def dumps(value: Any, export: Export = _refuse_export) -> bytes:
    """`value` as bytes; what is not plain goes through `export`. Raises WireError for what cannot be sent."""
    writer = _Writer(export)
    writer.put(value)
    data = b"".join(writer.parts)
    if len(data) > MAX_BYTES:
        raise WireError(f"a value of {len(data)} bytes; at most {MAX_BYTES}")
    return data


class _Reader:
    """Reads one value from untrusted bytes."""

    def __init__(self, data: bytes, resolve: Resolve) -> None:
        self.data = data
        self.at = 0
        self.resolve = resolve

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise WireError("cut short")
        part = self.data[self.at : end]
        self.at = end
        return part

    def length(self) -> int:
        """A length or count: every item takes a byte at least, so nothing larger than the rest is believed."""
        size = int(_LENGTH.unpack(self.take(4))[0])
        if size > len(self.data) - self.at:
            raise WireError("a length beyond the end")
        return size

    def items(self, depth: int) -> list[Any]:
        if depth >= MAX_DEPTH:
            raise WireError(f"nested deeper than {MAX_DEPTH}")
        count = self.length()
        items: list[Any] = []
        while len(items) < count:
            code = _RUN_CODES.get(self.data[self.at : self.at + 1])
            if code is None:
                items.append(self.get(depth + 1))
                continue
            self.at += 1
            body = self.take(self.length())
            if len(body) % 8 or not body or len(items) + len(body) // 8 > count:
                raise WireError("a run of numbers of the wrong length")
            items += array.array(code, body)
        return items

    def get(self, depth: int = 0) -> Any:
        tag = self.take(1)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag == b"i":
            return int.from_bytes(self.take(self.length()), "big", signed=True)
        if tag == b"s":
            return self.take(self.length()).decode("utf-8", "surrogatepass")
        if tag == b"f":
            return _DOUBLE.unpack(self.take(8))[0]
        if tag == b"c":
            return complex(_DOUBLE.unpack(self.take(8))[0], _DOUBLE.unpack(self.take(8))[0])
        if tag == b"b":
            return self.take(self.length())
        if tag in _CONTAINERS:
            return _CONTAINERS[tag](self.items(depth))
        return self.reference(tag, depth)

    def reference(self, tag: bytes, depth: int) -> Any:
        if tag == b"B":
            return _BUILTIN_TYPES[self.take(self.length()).decode("ascii")]
        if tag == b"V":
            cls, _ = _VALUE_TYPES[self.take(self.length()).decode("ascii")]
            parts = self.get(depth)
            if type(parts) is not tuple:
                raise WireError("a value type without its parts")
            return cls(*parts)
        if tag == b"R":
            kind, number = self.take(1).decode("ascii"), int(_LENGTH.unpack(self.take(4))[0])
            name = self.get(depth)
            if type(name) is not str:
                raise WireError("a reference without a name")
            return self.resolve(kind, number, name)
        raise WireError(f"unknown tag {tag!r}")


def _dict(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise WireError("a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True))


_CONSTANTS = {b"N": None, b"T": True, b"F": False}
_CONTAINERS: dict[bytes, Callable[[list[Any]], Any]] = {b"l": list, b"t": tuple, b"S": set, b"Z": frozenset, b"d": _dict}


def loads(data: bytes, resolve: Resolve = _refuse_resolve) -> Any:
    """The value in `data`. Raises WireError for anything that is not exactly one value."""
    reader = _Reader(data, resolve)
    try:
        value = reader.get()
    except WireError:
        raise
    except Exception as error:  # unhashable keys, bad UTF-8, dates out of range: hostile bytes are all one error
        raise WireError(f"{type(error).__name__}: {error}") from None
    if reader.at != len(data):
        raise WireError("bytes after the value")
    return value


def send(sock: socket.socket, data: bytes) -> None:
    """One message: its length, then its bytes."""
    sock.sendall(_LENGTH.pack(len(data)) + data)


def receive(sock: socket.socket) -> bytes | None:
    """One message, None at the end of the stream. Raises WireError for one that is cut short or over the limit."""
    head = _read(sock, 4)
    if not head:
        return None
    size = _LENGTH.unpack(head)[0] if len(head) == 4 else MAX_BYTES + 1
    if size > MAX_BYTES:
        raise WireError("not a message")
    body = _read(sock, size)
    if len(body) != size:
        raise WireError("cut short")
    return body


def _read(sock: socket.socket, size: int) -> bytes:
    """Up to `size` bytes, fewer only at the end of the stream."""
    if not size:
        return b""
    data = sock.recv(min(size, 1 << 16))
    if len(data) in (0, size):
        return data
    parts, got = [data], len(data)
    while got < size:
        data = sock.recv(min(size - got, 1 << 20))
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)
