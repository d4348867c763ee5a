"""Reads rows from JSON and JSONL files, plain or gzipped, so that every complaint names the file and the line."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.errors import UserError

DATA_VARIABLE = "CODETUNE_DATA"
MAX_NESTING = 100  # of lists and objects; what walks much deeper values runs out of stack
_TOO_DEEP = f"lists and objects are nested more than {MAX_NESTING} deep; flatten them"


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file and where it stood, for error messages: "data.jsonl, line 3"; `number` counts a file's rows from 0."""

    where: str
    values: dict[str, Any]
    number: int = 0

    def text(self, key: str, default: str | None = None) -> str:
        """The string under `key`; absent or null gives `default`, and a `default` of None makes the key required."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.error(f"{key!r} must be a string, got {short(value)}" if key in self.values else f"{key!r} is missing")
        return value

    def task_id(self) -> str | int:
        """The row's `task_id`: a string that is not empty, or a whole number."""
        value = self.values.get("task_id")
        if value is None:
            raise self.error("'task_id' is missing")
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.error(f"'task_id' must be a string or a number, got {short(value)}")
        return value

    def texts(self, key: str) -> list[str]:
        """The list of strings under `key`; absent or null gives an empty list."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key!r} must be a list of strings, got {short(value)}")
        return value

    def whole_number(self, key: str, default: int) -> int:
        """The integer under `key`; absent or null gives `default`."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(f"{key!r} must be a whole number, got {short(value)}")
        return value

    def error(self, message: str) -> UserError:
        return UserError(f"{self.where}: {message}")


def read_rows(path: Path) -> list[Row]:
    """All objects of a JSONL file (one per line, blank lines skipped) or of a file that is one JSON list."""
    rows = rows_of_text(str(path), _read_text(path))
    if not rows:
        raise UserError(f"{path}: the file has no rows; give one JSON object per line")
    return rows


def rows_of_text(where: str, text: str) -> list[Row]:
    """All objects of a text of JSON lines, or of one that is a JSON list; `where` names it in errors."""
    return _checked(items_of_text(where, text))


def items_of_text(where: str, text: str) -> list[tuple[str, object]]:
    """The values of a text of JSON lines, or the items of a JSON list, each with where it stands."""
    return _items_of_list(where, text) if text.lstrip()[:1] == "[" else _items_of_lines(where, text)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_data(file: str, data: Path | None) -> Path:
    """The local copy of a data set: `data` where given, else `file` (`<name>/<file>`) in the folder that CODETUNE_DATA names."""
    if data is not None:
        return require_file(data)
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        raise UserError(f"{file} is needed but {DATA_VARIABLE} is not set; set it to the folder that holds {file}, or give --data FILE")
    path = Path(folder) / file
    if not path.is_file():
        raise UserError(f"{path} not found ({DATA_VARIABLE}={folder}); put the file there, or give --data FILE")
    return path


def use_root(root: Path | None) -> None:
    """Make a folder the one that data sets and benchmarks are looked for in, here and in processes that this one starts.

    It is what `root` of a recipe's data says; None leaves what CODETUNE_DATA says. Raises UserError where it is no folder.
    """
    if root is None:
        return
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder; give the folder that holds data sets as <name>/<file>")
    os.environ[DATA_VARIABLE] = str(root.resolve())


def require_file(path: Path) -> Path:
    """The path itself, where it is a file."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a JSON or JSONL file")
    if not path.is_file():
        raise UserError(f"{path} not found; give the path of an existing JSON or JSONL file")
    return path


def short(value: object, limit: int = 60) -> str:
    """A value as it is shown in an error message."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _read_text(path: Path) -> str:
    require_file(path)
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: broken gzip file ({error}); fetch it again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _items_of_list(where: str, text: str) -> list[tuple[str, object]]:
    return [(f"{where}, item {number}", item) for number, item in enumerate(parsed(where, text), 1)]


def _items_of_lines(where: str, text: str) -> list[tuple[str, object]]:
    # Not splitlines(): it also cuts at U+2028 and the like, which JSON strings may hold.
    numbered = ((f"{where}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return [(place, parsed(place, line)) for place, line in numbered]


def parsed(where: str, text: str) -> Any:
    """The value of a JSON text at `where`. A repeated key is refused, since readers differ in which of its values they take."""
    try:
        value = json.loads(text, object_pairs_hook=_unrepeated)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if error.lineno > 1 else ""
        raise UserError(f"{where}{line}: not JSON ({error.msg} at column {error.colno}); give one JSON object per line") from error
    except RecursionError as error:
        raise UserError(f"{where}: {_TOO_DEEP}") from error
    except ValueError as error:  # a repeated key, or a number of more digits than Python converts
        raise UserError(f"{where}: {error}") from error
    if text.count("[") + text.count("{") > MAX_NESTING and _nests_too_deep(value):
        raise UserError(f"{where}: {_TOO_DEEP}")
    return value


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {short(key)} is there twice; give it once")
    return found


def _nests_too_deep(value: object) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_NESTING):
        items = itertools.chain.from_iterable(each.values() if isinstance(each, dict) else each for each in level)
        level = [item for item in items if isinstance(item, dict | list)]
    return bool(level)


def _checked(items: Iterable[tuple[str, object]]) -> list[Row]:
    rows = []
    for where, item in items:
        if not isinstance(item, dict):
            raise UserError(f"{where}: expected a JSON object, got {short(item)}")
        rows.append(Row(where, item))
    return rows
