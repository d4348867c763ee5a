"""The run folder's files under kills, full disks and second writers."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from codetune.errors import UserError
from codetune.runs import RowLog, append_row, locked, read_json, read_rows, spared, write_atomically, write_json, write_rows

FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a device on which every write finds no space")
ROW = {"text": "a\u2028b\u0085c\x0cd\r\ne\ud800", "n": 1}  # all that splitlines() would cut at, and a lone surrogate

HOLDER = """
import pathlib, sys, time
from codetune.runs import locked
with locked(pathlib.Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    write_json(path, {"ä": [1, None, 0.5]})
    assert read_json(path) == {"ä": [1, None, 0.5]}
    write_json(path, {})
    assert read_json(path) == {}
    assert names(path.parent) == {"a.json"}


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")

    def half(file: BinaryIO) -> None:
        file.write(b'"ne')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert read_json(path) == "old"
    assert names(tmp_path) == {"a.json"}


@pytest.mark.parametrize("text", ["", '{"a": 1', "nonsense"])
def test_damaged_json_is_a_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json is not valid JSON .* remove it"):
        read_json(tmp_path / "a.json")


def test_missing_json_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_json(tmp_path / "a.json")


def test_rows_keep_every_character(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [ROW, {"n": 2}])
    append_row(tmp_path / "rows.jsonl", {"n": 3, "text": "\u2028ü"})
    assert read_rows(tmp_path / "rows.jsonl") == [ROW, {"n": 2}, {"n": 3, "text": "\u2028ü"}]


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "rows.jsonl") == []


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """Cut at every byte of the last line, within letters of several bytes too."""
    path = tmp_path / "rows.jsonl"
    append_row(path, {"n": 1})
    first = path.stat().st_size
    append_row(path, {"text": "ü\u2028🙂"})
    whole = path.read_bytes()
    for length in range(first, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert read_rows(path) == [{"n": 1}]


@needs_full_device
def test_a_full_disk_is_one_line_and_harms_nothing(tmp_path: Path) -> None:
    """Real ENOSPC from the kernel: the temporary file's name already leads to /dev/full."""
    path = tmp_path / "a.json"
    write_json(path, "old")
    (tmp_path / f".a.json.{os.getpid()}.tmp").symlink_to(FULL)
    with pytest.raises(UserError, match=r"no disk space left for .*run the same command again"):
        write_json(path, "new")
    assert read_json(path) == "old"
    assert names(tmp_path) == {"a.json"}


@needs_full_device
def test_a_full_disk_while_a_row_is_added() -> None:
    with pytest.raises(UserError, match="no disk space left"):
        append_row(FULL, {"n": 1})


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (lambda: write_json(tmp_path / "file" / "a.json", 1), lambda: append_row(tmp_path / "file" / "a.jsonl", {})):
        with pytest.raises(UserError, match="cannot write"):
            write()
    with pytest.raises(UserError, match="cannot write"), locked(tmp_path / "file"):
        pass


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="in use by another codetune process"), locked(tmp_path):
        pass
    with locked(tmp_path):  # free again
        pass


def test_a_killed_holders_lock_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UserError, match="in use"), locked(tmp_path):
            pass
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_row_after_a_torn_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, {"a": 1})
    with path.open("ab") as file:
        file.write(b'{"a": 2, "torn')
    append_row(path, {"a": 3})
    append_row(path, {"a": 4})
    assert read_rows(path) == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_rows_that_a_full_disk_refuses_come_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    log = RowLog(path)
    log.add({"n": 1})
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, before[1]))  # a row begins to fit
    try:
        log.add({"n": 2})
        with pytest.raises(OSError, match="File too large"):
            log.flush()
        assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.add({"n": 3})
    assert path.read_text() == '{"n": 1}\n{"n": 2}\n{"n": 3}\n'
    log.flush()
    assert len(read_rows(path)) == 3


@needs_full_device
def test_narration_that_a_full_disk_does_not_take_is_lost_and_no_error() -> None:
    with FULL.open("w", buffering=1) as full:
        tell = partial(print, file=full)
        spared(tell)("lost")
        with pytest.raises(OSError, match="No space left"):
            tell("an error")
        with contextlib.suppress(OSError):
            full.close()
    with pytest.raises(BrokenPipeError):
        spared(_gone)()


def _gone() -> None:
    raise BrokenPipeError(errno.EPIPE, "gone")
