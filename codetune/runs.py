"""The run folder: files that are whole or absent, append-only rows that survive a kill, and one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec

from codetune.errors import UserError

P = ParamSpec("P")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def cache_folder() -> Path:
    """CODETUNE_CACHE, else the user's cache folder."""
    given = os.environ.get("CODETUNE_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "codetune"


def state_folder() -> Path:
    """CODETUNE_STATE, else the user's folder of what programs remember: it may not be thrown away as a cache may."""
    given = os.environ.get("CODETUNE_STATE")
    return Path(given) if given else Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "codetune"


def write_json(path: Path, data: Any) -> None:
    """Write atomically: after a kill at any moment the file is the old one or the whole new one."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    write_atomically(path, lambda file: file.write(text.encode()))


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write through a temporary file beside the target, flushed to disk before it takes the target's name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_names(path.parent)
    except OSError as error:
        raise disk_error(error, path) from None
    finally:
        with contextlib.suppress(OSError):  # it is gone when all went well
            temporary.unlink()


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes this name when all is in it: a reader sees the old one, none, or the whole new one."""
    temporary, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)  # of a process with the same number that was killed
    try:
        temporary.mkdir(parents=True)
        yield temporary
        flush_names(temporary)
        if folder.exists():
            os.rename(folder, old)
        os.rename(temporary, folder)
        flush_names(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def flush_names(folder: Path) -> None:
    """Put on disk which files a folder has: without it a power cut may take back a new name, though the file itself is there."""
    with contextlib.suppress(OSError):  # some file systems have no such call, and need none
        names = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(names)
        finally:
            os.close(names)


def read_json(path: Path) -> Any:
    """Parsed JSON. Raises UserError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): remove it to have it made again") from None


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add one JSON line, flushed to the operating system at once. A torn line before it (a kill) stays alone in its line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            torn = file.tell() > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
            file.write(b"\n" * torn + json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    except OSError as error:
        raise disk_error(error, path) from None


class RowLog:
    """JSON lines added one by one over a long time: those that a full disk refuses wait in memory and go with the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[bytes] = []

    def add(self, row: dict[str, Any]) -> None:
        """A row at the end of the file; never an error, but `flush` will tell."""
        self._waiting.append(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        with contextlib.suppress(OSError):
            self._write(sync=False)

    def flush(self) -> None:
        """Have every row on disk. Raises OSError where it takes no more; then no line is there by half."""
        self._write(sync=True)

    def _write(self, sync: bool) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size, data = os.fstat(file).st_size, b"".join(self._waiting)
            try:
                while data:
                    data = data[os.write(file, data) :]
            except OSError:
                os.ftruncate(file, size)
                raise
            self._waiting.clear()
            if sync:
                os.fsync(file)
        finally:
            os.close(file)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """All rows at once, atomically."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lambda file: file.write(lines.encode("utf-8", "surrogatepass")))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; a torn last line (a kill while it was written) is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            if isinstance(row := json.loads(line), dict):
                rows.append(row)
    return rows


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder for one process. Raises UserError while another holds it; a killed holder's lock is gone with it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise disk_error(error, folder) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is in use by another codetune process: wait for it, or choose another --out") from None
        yield


def in_use(folder: Path) -> bool:
    """Whether a process holds a folder by `locked` at this moment. Nothing is written."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that only look do not see each other
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def spared(tell: Callable[P, None]) -> Callable[P, None]:
    """Narration that a full disk does not take, of a log on it, is lost; what it tells of goes on."""

    def told(*given: P.args, **named: P.kwargs) -> None:
        try:
            tell(*given, **named)
        except OSError as error:
            if error.errno not in _FULL:
                raise

    return told


def disk_error(error: OSError, path: Path) -> UserError:
    if error.errno in _FULL - {errno.EFBIG}:
        return UserError(f"no disk space left for {path}: free some and run the same command again; what was saved before is kept")
    return UserError(f"cannot write {path}: {error.strerror or error}")
