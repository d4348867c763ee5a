"""The SQLite file of a history: opened, made, or refused in one line."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from codetune.errors import UserError
from codetune.runs import disk_error

_APPLICATION = 0x636F6474  # "codt": marks the file as ours
_VERSION = 1  # of the tables; a file of an earlier one would be brought up to date here
_TABLES = """
CREATE TABLE conversation (id TEXT PRIMARY KEY, title TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL);
CREATE INDEX conversation_updated ON conversation (updated);
CREATE TABLE exchange (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, conversation TEXT NOT NULL REFERENCES conversation (id) ON DELETE CASCADE,
    question TEXT NOT NULL, created REAL NOT NULL, blind INTEGER NOT NULL, choice TEXT, indexed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX exchange_conversation ON exchange (conversation);
CREATE TABLE answer (
    id TEXT PRIMARY KEY, exchange TEXT NOT NULL REFERENCES exchange (id) ON DELETE CASCADE, side INTEGER NOT NULL, model TEXT NOT NULL,
    base TEXT NOT NULL, method TEXT NOT NULL, prompt_style TEXT NOT NULL, decoding TEXT NOT NULL, version TEXT NOT NULL,
    content TEXT NOT NULL DEFAULT '', finish TEXT NOT NULL DEFAULT '', num_tokens INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, first_token_s REAL, seconds REAL NOT NULL DEFAULT 0, rating INTEGER, edited TEXT
);
CREATE INDEX answer_exchange ON answer (exchange);
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def open_file(path: Path, full_text: bool) -> tuple[sqlite3.Connection, bool]:
    """A connection for any thread, one at a time, and whether words are indexed. Raises UserError, and leaves other files alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise UserError(f"cannot open the history {path}: {error}; give a folder that can be written to") from None
    except OSError as error:
        raise disk_error(error, path) from None
    try:
        database.row_factory = sqlite3.Row
        _require_ours(database, path)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA foreign_keys=ON")
        if not database.execute("PRAGMA user_version").fetchone()[0]:
            marks = f"PRAGMA application_id={_APPLICATION}; PRAGMA user_version={_VERSION};"
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} {marks} COMMIT;")
        return database, full_text and _index_words(database)
    except sqlite3.Error as error:
        database.close()
        raise UserError(f"{path} is no history, or is damaged ({error}): move it away, and a new one is begun") from None
    except BaseException:
        database.close()
        raise


def _require_ours(database: sqlite3.Connection, path: Path) -> None:
    mark, version = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if mark != _APPLICATION and (tables or mark or version):
        raise UserError(f"{path} is another program's database: give another folder, or move it away")
    if version > _VERSION:
        raise UserError(f"{path} is of a newer codetune (version {version}, this one knows {_VERSION}): update codetune, or move it away")
    said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise UserError(f"{path} is damaged ({' '.join(str(said).split())}): move it away, and a new one is begun")


def _index_words(database: sqlite3.Connection) -> bool:
    """False where SQLite was built without FTS5: what was written without it is indexed when it is there again."""
    with contextlib.suppress(sqlite3.OperationalError):
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone():
            database.execute("CREATE VIRTUAL TABLE words USING fts5(text)")
            database.execute("UPDATE exchange SET indexed = 0")
        database.execute("SELECT count(*) FROM words WHERE words MATCH 'a'").fetchone()
        return True
    return False
