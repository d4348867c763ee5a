"""Reading rows: what comes back, and that every fault names file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from codetune.data.files import find_data, read_rows, sha256_of
from codetune.errors import UserError


def test_jsonl_plain_gzipped_and_a_json_list_read_alike(tmp_path: Path) -> None:
    rows = [{"a": 1}, {"a": "\u2028 is no line end"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "plain.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "bom.jsonl").write_text("\ufeff\n" + lines, encoding="utf-8")
    for name in ("plain.jsonl", "packed.jsonl.gz", "list.json", "bom.jsonl"):
        assert [row.values for row in read_rows(tmp_path / name)] == rows, name


def test_blank_lines_count_for_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n\n{"a": 2}\n')
    assert [row.where for row in read_rows(path)] == [f"{path}, line 1", f"{path}, line 4"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": 1}\n{oops}\n', "line 2: not JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: expected a JSON object, got [1]"),
        (b'[{"a": 1}, 7]', "item 2: expected a JSON object, got 7"),
        (b'[{"a": 1},\n {"a" 2}]', "line 2: not JSON"),
        (b"", "no rows"),
        (b"\xff\xfe{", "not UTF-8"),
        (b"\x1f\x8b\x08truncated", "broken gzip"),
    ],
)
def test_faults_are_one_line_with_the_place(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_rows(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl not found"):
        read_rows(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        read_rows(tmp_path)


def test_a_field_of_the_wrong_type_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"name": 3, "none": null, "list": ["x", 1]}\n')
    (row,) = read_rows(path)
    with pytest.raises(UserError, match=r"line 1: 'name' must be a string, got 3"):
        row.text("name")
    with pytest.raises(UserError, match=r"line 1: 'other' is missing"):
        row.text("other")
    with pytest.raises(UserError, match=r"line 1: 'list' must be a list of strings"):
        row.texts("list")
    assert row.text("none", "") == ""


def test_find_data_says_where_it_looked_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODETUNE_DATA", raising=False)
    with pytest.raises(UserError, match=r"x/y\.json is needed but CODETUNE_DATA is not set.*--data FILE"):
        find_data("x/y.json", None)
    monkeypatch.setenv("CODETUNE_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"x/y\.json not found \(CODETUNE_DATA=.*--data FILE"):
        find_data("x/y.json", None)
    own = tmp_path / "own.json"
    own.write_text("[]")
    assert find_data("x/y.json", own) == own
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y.json").write_text("abc")
    assert find_data("x/y.json", None) == tmp_path / "x" / "y.json"


def test_sha256_is_the_published_vector(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_text("abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
