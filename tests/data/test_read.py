"""Tolerant reading: the rows that are there are read whatever stands around them, and what cannot be read is named by its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetune.data import cut, read
from codetune.data.files import Row
from codetune.data.read import BadRow, chunks, files_of, rows
from codetune.errors import UserError
from tests import fuzz

ROWS: list[dict[str, Any]] = [{"a": "one", "b": "1"}, {"a": "\u2028 is no line end", "b": "2"}, {"a": "ä, \"quoted\"\nlines", "b": "3"}]


def all_of(path: Path, rows_per_chunk: int = 2) -> list[Row | BadRow]:
    """Every row, through what a worker process would be sent."""
    sent = [pickle.loads(pickle.dumps(chunk)) for chunk in chunks(path, rows_per_chunk)]
    return [row for chunk in sent for row in rows(chunk)]


def good(found: list[Row | BadRow]) -> list[dict[str, Any]]:
    return [row.values for row in found if isinstance(row, Row)]


def bad(found: list[Row | BadRow]) -> list[BadRow]:
    return [row for row in found if isinstance(row, BadRow)]


def jsonl(items: list[dict[str, Any]], end: str = "\n") -> bytes:
    return "".join(json.dumps(item, ensure_ascii=False) + end for item in items).encode()


def as_csv(items: list[dict[str, Any]], end: str = "\n") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(items[0]), lineterminator=end)
    writer.writeheader()
    writer.writerows(items)
    return out.getvalue().encode()


def zstandard(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return bytes(out.getvalue())


def parquet(items: list[dict[str, Any]], group: int = 2) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(items), out, row_group_size=group)
    return bytes(out.getvalue())


FORMS = {
    "a.jsonl": jsonl(ROWS),
    "b.jsonl": b"\xef\xbb\xbf\n" + jsonl(ROWS, "\r\n") + b"\n",
    "c.jsonl": jsonl(ROWS).rstrip(b"\n"),
    "d.jsonl.gz": gzip.compress(jsonl(ROWS)),
    "e.jsonl.zst": zstandard(jsonl(ROWS)),
    "f.json": json.dumps(ROWS, indent=1).encode(),
    "g.json": b"\xef\xbb\xbf " + json.dumps(ROWS, ensure_ascii=False).encode(),
    "h.csv": as_csv(ROWS),
    "i.csv.gz": gzip.compress(b"\xef\xbb\xbf" + as_csv(ROWS, "\r\n")),
    "j.parquet": parquet(ROWS),
    "k": jsonl(ROWS),  # what a file is, its content says
    "l.txt": parquet(ROWS),
    "m.jsonl": gzip.compress(jsonl(ROWS)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rows_in_chunks_of_any_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMS[name])
    for rows_per_chunk in (1, 2, 100):
        found = all_of(path, rows_per_chunk)
        assert good(found) == ROWS, bad(found)
        assert [row.number for row in found if isinstance(row, Row)] == [0, 1, 2]
        assert [row.where for row in found] == [row.where for row in all_of(path, 7)]
    names = [chunk.name for chunk in chunks(path, 1)]
    assert names == ([f"{name}@0", f"{name}@2"] if FORMS[name][:4] == b"PAR1" else [f"{name}@{number}" for number in range(3)])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{oops}", "not JSON"),
        (b"[1]", "expected a JSON object, got [1]"),
        (b"7", "expected a JSON object, got 7"),
        (b'{"a": "\xff"}', "not UTF-8 text (byte 8 of the line)"),
        (b'{"a": "x\x00"}', "NUL bytes"),
        (b"\x00" * 5000, "NUL bytes"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "nested more than 100 deep"),
        (b"[" * 100_000, "nested more than 100 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"a": "' + b"x" * (cut.MAX_LINE_BYTES) + b'"}', "a line of 16 MB; a row may have up to 16 MB"),
    ],
    ids=["words", "list", "number", "not UTF-8", "NUL", "only NUL", "twice", "nested", "brackets", "digits", "long"],
)
def test_a_bad_line_costs_itself_alone(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(ROWS[:1]) + line + b"\n\n" + jsonl(ROWS[1:]))
    found = all_of(path)
    assert good(found) == ROWS
    assert [row.number for row in found if isinstance(row, Row)] == [0, 2, 3]
    (fault,) = bad(found)
    assert fault.where == f"{path}, line 2"
    assert says in fault.reason
    assert "\n" not in fault.reason
    assert len(fault.reason) < 300
    assert str(path) not in fault.reason


def test_a_line_of_50_mb_is_never_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", 1) as out:
        out.write(jsonl(ROWS[:1]) + b'{"a": "')
        for _ in range(50):
            out.write(b"x" * (1 << 20))
        out.write(b'"}\n' + jsonl(ROWS[1:]))
    found = all_of(path)
    assert good(found) == ROWS
    assert [fault.reason for fault in bad(found)] == ["a line of 50 MB; a row may have up to 16 MB"]


def test_chunks_are_bounded_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl([{"a": "x" * 100}] * 10))
    monkeypatch.setattr(read, "MAX_CHUNK_BYTES", 250)
    assert [len(chunk.items) for chunk in chunks(path, 1000)] == [3, 3, 3, 1]


@pytest.mark.parametrize("packed", [gzip.compress, zstandard], ids=["gzip", "zstandard"])
def test_a_compressed_file_that_ends_in_the_middle(tmp_path: Path, packed: Any) -> None:
    rng = random.Random(0)
    items = [{"a": rng.randbytes(30).hex()} for _ in range(5000)]
    data = packed(jsonl(items))
    path = tmp_path / "rows.jsonl.x"
    path.write_bytes(data[: len(data) // 2])
    found = all_of(path, 1000)
    assert good(found) == items[: len(good(found))]
    assert 1000 < len(good(found)) < 3000
    (fault,) = bad(found)
    assert found[-1] is fault
    assert fault.reason == "the file ends in the middle: fetch it again"
    assert fault.where.startswith(f"{path}, after line ")


def test_damage_in_a_gzip_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl(ROWS))[:-6] + b"\x00" * 6)  # the checksum
    found = all_of(path)
    assert good(found) == ROWS
    assert "the file is broken (CRC check failed" in bad(found)[0].reason
    path.write_bytes(b"\x1f\x8bnothing of the kind")
    assert ["fetch it again" in fault.reason for fault in bad(all_of(path))] == [True]


def test_a_last_line_that_is_cut_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(ROWS)[:-4])
    found = all_of(path)
    assert good(found) == ROWS[:2]
    assert "the file ends with this line, perhaps in its middle: fetch it again" in bad(found)[0].reason


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('[{"a": 1},\n{"a" 2},\n{"a": 3}]', ["item 2 (line 2): not JSON (Expecting ':' delimiter)"]),
        ('[{"a": 1},\n{"a": "x\n"},\n{"a": 3}]', ["item 2 (line 2): not JSON (Invalid control character at)"]),
        ('[{"a": 1}\n{"a": 2},\n{"a": 3}]', ["item 2 (line 2): not JSON (a comma or the end of the list is missing)"]),
        ('[{"a": 1},\n7,\n{"a": 3}]', ["item 2: expected a JSON object, got 7"]),
        ('[{"a": 1},\n{"a": 3}', ["item 3 (line 2): the file ends in the middle of the list: fetch it again"]),
        ('[{"a": 1},\n{"a": 3},\n{"a": "x', ["item 3 (line 3): the file ends in the middle of the list: fetch it again"]),
        ('[{"a": 1},\n{"a": 3}] x', ["item 3 (line 2): something follows the end of the list"]),
        ('[{"a": 1},\n{"b": ' + "[" * 5000 + "]" * 5000 + '},\n{"a": 3}]', ["nested"]),
        ('[{"a": 1},\n{"b": "\udcff"},\n{"a": 3}]', ["item 2: not UTF-8 text"]),
    ],
)
def test_a_bad_item_of_a_json_list(tmp_path: Path, text: str, faults: list[str]) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = all_of(path)
    kept = [row["a"] for row in good(found)]
    assert kept in ([1, 3], [1, 2, 3])
    told = [f"{fault.where.removeprefix(f'{path}, ')}: {fault.reason}" for fault in bad(found)]
    assert len(told) == len(faults), told
    assert all(part in line for part, line in zip(faults, told, strict=True)), told


def test_a_json_list_that_ends_in_the_middle_of_gzip(tmp_path: Path) -> None:
    rng = random.Random(0)
    items = [{"a": rng.randbytes(30).hex()} for _ in range(5000)]
    data = gzip.compress(json.dumps(items).encode())
    path = tmp_path / "rows.json.gz"
    path.write_bytes(data[: len(data) // 2])
    found = all_of(path, 1000)
    assert good(found) == items[: len(good(found))]
    assert len(good(found)) > 1000
    assert [fault.reason for fault in bad(found)] == ["the file ends in the middle: fetch it again"]


def test_a_json_list_too_large_to_be_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS))
    monkeypatch.setattr(cut, "MAX_LIST_BYTES", 20)
    with pytest.raises(UserError, match="has to be read whole; make it JSONL"):
        all_of(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"a,b\n1,2\n3\n4,5\n", "line 3: 1 fields, the header has 2"),
        (b"a,b\n1,2\n3,3,3\n4,5\n", "line 3: 3 fields, the header has 2"),
        (b'a,b\n1,2\n"3,3\n4,5\n', "line 3: not CSV (unexpected end of data)"),
        (b'a,b\n1,2\n"3"3,3\n4,5\n', "line 3: not CSV (',' expected after '\"')"),
        (b"a,b\n1,2\n3,\xff\n4,5\n", "line 3: not UTF-8 text"),
        (b"a,b\n1,2\n3,\x00\n4,5\n", "line 3: holds NUL bytes"),
        (b"a,b\n1,2\n" + b"x" * (cut.MAX_LINE_BYTES + 1) + b",3\n4,5\n", "line 3: a line of 16 MB"),
    ],
    ids=["few", "many", "open quote", "quote", "not UTF-8", "NUL", "long"],
)
def test_a_bad_record_of_csv(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text)
    found = all_of(path)
    assert good(found) == [{"a": "1", "b": "2"}, {"a": "4", "b": "5"}]
    (fault,) = bad(found)
    assert f"{path}, {says}" in f"{fault.where}: {fault.reason}"


def test_csv_needs_a_header(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,a\n1,2\n")
    assert [fault.reason for fault in bad(all_of(path))] == ["the header names a column twice; the first line must name the columns"]


def test_broken_parquet_and_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(FORMS["j.parquet"][:-20])
    assert ["broken Parquet file" in fault.reason for fault in bad(all_of(path))] == [True]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(ROWS).decode().encode("utf-16"))
    assert bad(all_of(path)) == [BadRow(str(path), "UTF-16 text; save it as UTF-8")]


def test_damaged_parquet_pages_cost_their_row_group(tmp_path: Path) -> None:
    items = [{"a": f"{number}" * 400} for number in range(6)]
    data = bytearray(parquet(items))
    at = data.index(b"2" * 50)  # in the second of three groups
    data[at - 40 : at + 400] = bytes(440)
    path = tmp_path / "rows.parquet"
    path.write_bytes(bytes(data))
    for rows_per_chunk in (1, 100):
        found = all_of(path, rows_per_chunk)
        assert [row["a"][0] for row in good(found)] in (["0", "1", "4", "5"], ["0", "1", "\x00", "3", "4", "5"]), found
        assert len(found) >= 5


def test_only_the_columns_that_are_wanted_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(parquet(ROWS))
    found = [row for chunk in chunks(path, 2, ("b", "absent")) for row in rows(chunk)]
    assert good(found) == [{"b": "1"}, {"b": "2"}, {"b": "3"}]


def test_folders_and_globs_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/part.jsonl", "a.csv", "b/part.json.gz", ".hidden/x.jsonl", "notes.txt", "state.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jsonl(ROWS[:1]))
    found = [(path.relative_to(tmp_path).as_posix(), label) for path, label in files_of(tmp_path)]
    assert found == [("a.csv", "a"), ("b/part.json.gz", "b/part.json.gz"), ("b/part.jsonl", "b/part.jsonl")]
    assert [path.name for path, _ in files_of(tmp_path / "*" / "*.jsonl")] == ["part.jsonl"]
    assert [label for _, label in files_of(tmp_path / "b" / "part.jsonl")] == ["part"]
    assert len(good(all_of(tmp_path))) == 3
    for path, says in ((tmp_path / "no.jsonl", "not found"), (tmp_path / "*.x", "no file matches"), (tmp_path / ".hidden", "")):
        if says:
            with pytest.raises(UserError, match=says):
                files_of(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no data file in it"):
        files_of(tmp_path / "empty")


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(FORMS)))
def test_no_damage_raises_and_chunks_do_not_matter(tmp_path_factory: pytest.TempPathFactory, seed: int, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(fuzz.mutate_bytes(random.Random(seed), FORMS[name]))
    found = all_of(path, 1)
    again = all_of(path, 3)
    if not name.endswith(".zst"):  # of a damaged block without a checksum, the decompressor may give something else each time
        assert found == again
    assert all("\n" not in fault.where + fault.reason for fault in bad(found))


LINE = st.binary(max_size=60).filter(lambda raw: b"\n" not in raw and b'"' not in raw and raw[:1] not in b"\x1f\x28P[")


@settings(max_examples=200, deadline=None)
@given(noise=st.lists(LINE, max_size=3), at=st.integers(0, 3), kind=st.sampled_from(["jsonl", "csv"]))
def test_good_rows_around_noise_survive(tmp_path_factory: pytest.TempPathFactory, noise: list[bytes], at: int, kind: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"noise.{kind}"
    whole = jsonl(ROWS).splitlines(keepends=True) if kind == "jsonl" else list(records())
    first = 1 if kind == "csv" else 0
    place = min(first + at, len(whole))
    path.write_bytes(b"".join([*whole[:place], *(raw + b"\n" for raw in noise), *whole[place:]]))
    found = all_of(path)
    kept = [row for row in good(found) if row in ROWS]
    assert kept == ROWS
    assert len(found) <= len(ROWS) + len(noise) + sum(raw.count(b"\r") for raw in noise)


def records() -> Iterator[bytes]:
    """The header and each record of the rows as CSV."""
    for items in ([], ROWS[:1], ROWS[1:2], ROWS[2:]):
        text = as_csv(items or ROWS[:1])
        header, _, rest = text.partition(b"\n")
        yield rest if items else header + b"\n"
