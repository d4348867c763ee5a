"""Cuts a file's bytes into the pieces that are a row each, unparsed, with memory bounded whatever the file holds.

A line may have up to 16 MB. What cannot be cut is a `BadRow`, and cutting goes on behind it; a compressed file that ends in its middle
gives what is there and then one `BadRow`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from codetune.data.files import Row
from codetune.errors import UserError

MAX_LINE_BYTES = 16 << 20
MAX_LIST_BYTES = 1 << 30
_BLOCK_BYTES = 1 << 20
_ZSTANDARD_BYTES = 1 << 16  # at most so much is lost where a file ends in its middle
_BOM = b"\xef\xbb\xbf"
_GZIP, _ZSTANDARD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LEAP = re.compile(r"\n[ \t]*(?=\{)")  # where reading of a JSON list goes on behind an item that is no JSON
_SPACE = re.compile(r"\s*")
_BROKEN = (EOFError, OSError, zlib.error)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it stands ("data.jsonl, line 3"), and what is wrong with it."""

    where: str
    reason: str


Line = tuple[str, bytes]  # "line 3" or "item 3", and its JSON
Item = Line | Row | BadRow  # rows are those of CSV


class Stream(Protocol):
    """What a file and a decompressor have in common."""

    def read1(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...
    def peek(self, size: int, /) -> bytes: ...


@contextmanager
def opened(file: Path) -> Iterator[tuple[Stream | None, Callable[[], int]]]:
    """The file's bytes, decompressed, and how many of its own have been read; None for Parquet, which is not read from end to end."""
    try:
        with io.BufferedReader(io.FileIO(file), _BLOCK_BYTES) as raw:
            head = raw.peek(4)[:4]
            if head == _PARQUET:
                yield None, raw.tell
            elif head[:2] == _GZIP:
                with gzip.GzipFile(fileobj=raw) as unzipped:
                    yield unzipped, raw.tell
            elif head == _ZSTANDARD:
                with io.BufferedReader(pa.input_stream(str(file), compression="zstd"), _ZSTANDARD_BYTES) as stream:
                    yield stream, lambda: 0  # Arrow does not say
            else:
                yield raw, raw.tell
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error


def pieces(file: Path, stream: Stream) -> Iterator[Item]:
    """The file's rows, one by one: lines or items of a JSON list as bytes, records of a CSV file as rows."""
    try:
        head = stream.peek(_BLOCK_BYTES)[:_BLOCK_BYTES]
    except _BROKEN:
        head = b""  # reading it says what is wrong
    if head.startswith(_UTF_16) and head[:1000].count(0) * 3 > len(head[:1000]):
        yield BadRow(str(file), "UTF-16 text; save it as UTF-8")
        return
    match _form(file, head.removeprefix(_BOM).lstrip()):
        case "list":
            yield from _list_items(str(file), stream)
        case "csv":
            yield from _records(file, lines(str(file), stream))
        case _:
            yield from (line for line in lines(str(file), stream) if isinstance(line, BadRow) or not line[1].isspace())


def _form(file: Path, head: bytes) -> str:
    first, _, rest = head.partition(b"\n")
    if head[:1] == b"[":  # a list, unless its first line is a whole value and more follows: then a line that is no object
        return "lines" if rest.strip() and _is_json(first) else "list"
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if head[:1] == b"{" or {".jsonl", ".json", ".ndjson"} & set(suffixes):
        return "lines"
    return "csv" if ".csv" in suffixes or b"," in first else "lines"


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def lines(file: str, stream: Stream) -> Iterator[Line | BadRow]:
    """Every line with its end, blank ones too. No more than 16 MB of a line is ever held."""
    number = 0
    try:
        while raw := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                size, raw = len(raw), b""
                while rest := stream.readline(_BLOCK_BYTES):
                    size += len(rest)
                    if rest.endswith(b"\n"):
                        break
                reason = f"a line of {size / 2**20:.0f} MB; a row may have up to {MAX_LINE_BYTES >> 20} MB"
                yield BadRow(f"{file}, line {number}", reason)
                continue
            yield f"line {number}", raw.removeprefix(_BOM) if number == 1 else raw
    except _BROKEN as error:
        yield _broken(file, f"after line {number}", error)


def _broken(file: str, place: str, error: Exception) -> BadRow:
    ended = isinstance(error, EOFError) or "Truncated" in str(error)
    return BadRow(f"{file}, {place}", f"the file {'ends in the middle' if ended else f'is broken ({error})'}: fetch it again")


def _list_items(file: str, stream: Stream) -> Iterator[Line | BadRow]:
    raw, fault = bytearray(), None
    try:
        while block := stream.read1(_BLOCK_BYTES):  # read() would lose what comes just before a broken end
            raw += block
            if len(raw) > MAX_LIST_BYTES:
                raise UserError(f"{file}: a JSON list of more than 1 GB has to be read whole; make it JSONL: jq -c '.[]' FILE > FILE.jsonl")
    except _BROKEN as error:
        fault = error
    text = raw.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    del raw
    count, ended = 0, False
    for count, item in enumerate(_items(text), 1):
        if isinstance(item, str):
            yield f"item {count}", item.encode("utf-8", "surrogateescape")
        else:
            position, reason = item
            ended = position >= len(text)
            if not (ended and fault):
                yield BadRow(f"{file}, item {count} (line {text.count(chr(10), 0, position) + 1})", reason)
    if fault:
        yield _broken(file, f"after item {count - ended}", fault)


def _items(text: str) -> Iterator[str | tuple[int, str]]:
    """The JSON text of each item of the list; position and reason of what is none."""
    decoder, at = json.JSONDecoder(), text.find("[") + 1
    while True:
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            if _skip(text, at + 1) < len(text):
                yield at + 1, "something follows the end of the list"
            return
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            end = error.pos if isinstance(error, json.JSONDecodeError) else at + 1
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep, or a number that is too long"
        else:
            yield text[at:end]
            end = _skip(text, end)
            if text[end : end + 1] == ",":
                at = end + 1
                continue
            if text[end : end + 1] == "]":
                at = end
                continue
            reason = "a comma or the end of the list is missing"
        leap = _LEAP.search(text, end)
        if leap is None and not text[-100:].rstrip().endswith("]"):
            yield len(text), "the file ends in the middle of the list: fetch it again"
            return
        yield end, f"not JSON ({reason})"
        if leap is None:
            return
        at = leap.end()


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _records(file: Path, source: Iterator[Line | BadRow]) -> Iterator[Row | BadRow]:
    """Rows of a CSV file, its first record being the header. Behind a record that is none, the line after its first is read next."""
    csv.field_size_limit(MAX_LINE_BYTES)
    again: deque[Line | BadRow] = deque()  # lines to be read once more
    header: list[str] = []
    number = 0
    while True:
        taken: list[Line] = []
        bad: list[BadRow] = []
        try:
            fields = next(csv.reader(_texts(source, again, taken, bad), strict=True), None)
            reason = _fault(fields, header) if fields else ""
        except csv.Error as error:
            fields, reason = [], f"not CSV ({error})"
        yield from bad
        number += len(bad)
        if fields is None:
            return
        where = f"{file}, {taken[0][0]}"
        if reason and not header:
            yield BadRow(where, f"{reason}; the first line must name the columns")
            return
        if reason:
            yield BadRow(where, reason)
            number += 1
            again.extendleft(reversed(taken[1:]))
        elif fields and header:
            yield Row(where, dict(zip(header, fields, strict=True)), number)
            number += 1
        elif fields:
            header = fields


def _texts(source: Iterator[Line | BadRow], again: deque[Line | BadRow], taken: list[Line], bad: list[BadRow]) -> Iterator[str]:
    """The lines as text, as far as the parser wants them; notes in `taken` and `bad` what it was."""
    while True:
        line = again.popleft() if again else next(source, None)
        if line is None:
            return
        if isinstance(line, BadRow):
            bad.append(line)
            continue
        taken.append(line)
        yield line[1].decode("utf-8", "surrogateescape")


def _fault(fields: list[str], header: list[str]) -> str:
    if header and len(fields) != len(header):
        return f"{len(fields)} fields, the header has {len(header)}"
    if not header and len(set(fields)) < len(fields):
        return "the header names a column twice"
    if any("\0" in field for field in fields):
        return "holds NUL bytes; take them out"
    if any("\udc80" <= letter <= "\udcff" for field in fields if not field.isascii() for letter in field):
        return "not UTF-8 text; save it as UTF-8"
    return ""
