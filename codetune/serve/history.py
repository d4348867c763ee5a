"""What was asked and answered: conversations, exchanges and answers in one SQLite file, searched by words, whole after a kill.

    with closing(History(folder / "assistant.sqlite")) as history:
        exchange = history.begin(None, "Reverse a string.", (Asked("codetune-base", "codetune-base", "base"),))
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetune.errors import UserError
from codetune.generate.live import CANCELLED
from codetune.records import Json
from codetune.runs import disk_error, locked
from codetune.serve.errors import UnknownIdError
from codetune.serve.history_file import open_file

FILE = "assistant.sqlite"
_TITLE_CHARACTERS = 60
_MOST_WORDS = 16  # of a search
TIE, NEITHER = "tie", "neither"
Choice = int | str | None  # a side, TIE, NEITHER; None where nobody has chosen


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of exchanges. Times are seconds since 1970."""

    id: str
    title: str
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked on one side, and how: what an answer is produced by."""

    model: str
    base: str
    method: str
    prompt_style: str = ""
    decoding: Json = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model said. `finish` is "" while it is being written; `edited` is the user's better text."""

    id: str
    side: int
    asked: Asked
    content: str = ""
    finish: str = ""
    num_tokens: int = 0
    prompt_tokens: int = 0
    first_token_s: float | None = None
    seconds: float = 0.0
    rating: int | None = None
    edited: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with one answer, or with two side by side. In a blind one, who said what is not told before there is a choice."""

    id: str
    conversation: str
    question: str
    created: float
    blind: bool
    choice: Choice
    answers: tuple[Answer, ...]

    @property
    def is_open(self) -> bool:
        """Whether who answered is still withheld."""
        return self.blind and self.choice is None

    @property
    def taken(self) -> Answer | None:
        """The answer that the conversation goes on with: the chosen one, else the first that has a text."""
        said = [answer for answer in self.answers if answer.edited or answer.content]
        return next((answer for answer in said if answer.side == self.choice), said[0] if said else None)


class History:
    """Thread-safe; held by one process at a time. Raises UserError for a file that is none, is damaged, or is of a newer version."""

    def __init__(self, path: Path, full_text: bool = True) -> None:
        """`full_text` false searches without an index, as where SQLite was built without FTS5."""
        self._path, self._lock, self._held = path, threading.RLock(), contextlib.ExitStack()
        self._hold()
        try:
            self._database, self.full_text = open_file(path, full_text)
        except BaseException:
            self._held.close()
            raise
        with self._using() as database:
            database.execute("UPDATE answer SET finish = ? WHERE finish = ''", (CANCELLED,))  # the server was killed
            self._index(database, "SELECT id FROM exchange WHERE NOT indexed")

    def close(self) -> None:
        with self._lock:
            self._database.close()
        self._held.close()

    def conversations(self, query: str = "", limit: int = 50, before: float | None = None) -> tuple[Conversation, ...]:
        """The latest first, those updated before a time; where there is a query, those that have all its words, or words that start so."""
        found, values = self._matching(query.replace("\0", " ").split()[:_MOST_WORDS])
        wanted = f"{f'id IN ({found}) AND' if found else ''} updated < ?"
        with self._using() as database:
            rows = database.execute(
                f"SELECT id, title, created, updated FROM conversation WHERE {wanted} ORDER BY updated DESC, rowid DESC LIMIT ?",
                (*values, float("inf") if before is None else before, limit),
            )
            return tuple(Conversation(*row) for row in rows)

    def conversation(self, id: str) -> Conversation:
        """Raises UnknownIdError."""
        with self._using() as database:
            row = database.execute("SELECT id, title, created, updated FROM conversation WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise UnknownIdError(f"no conversation {id!r}: it may have been deleted")
        return Conversation(*row)

    def exchanges(self, conversation: str) -> tuple[Exchange, ...]:
        """All of a conversation, in order. Raises UnknownIdError."""
        self.conversation(conversation)
        with self._using() as database:
            ids = [id for (id,) in database.execute("SELECT id FROM exchange WHERE conversation = ? ORDER BY number", (conversation,))]
            return tuple(self.exchange(id) for id in ids)

    def exchange(self, id: str) -> Exchange:
        """Raises UnknownIdError."""
        with self._using() as database:
            row = database.execute("SELECT id, conversation, question, created, blind, choice FROM exchange WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise UnknownIdError(f"no exchange {id!r}: its conversation may have been deleted")
            answers = tuple(map(_answer, database.execute("SELECT * FROM answer WHERE exchange = ? ORDER BY side", (id,))))
        choice = None if row["choice"] is None else json.loads(row["choice"])
        return Exchange(row["id"], row["conversation"], row["question"], row["created"], bool(row["blind"]), choice, answers)

    def exchange_of(self, answer: str) -> Exchange:
        """The exchange that an answer is part of. Raises UnknownIdError."""
        with self._using() as database:
            row = database.execute("SELECT exchange FROM answer WHERE id = ?", (answer,)).fetchone()
        if row is None:
            raise UnknownIdError(f"no answer {answer!r}: its conversation may have been deleted")
        return self.exchange(row[0])

    def rename(self, conversation: str, title: str) -> Conversation:
        self.conversation(conversation)
        with self._using() as database:
            database.execute("UPDATE conversation SET title = ? WHERE id = ?", (title, conversation))
        return self.conversation(conversation)

    def delete(self, conversation: str) -> None:
        """With all its exchanges. Raises UnknownIdError."""
        self.conversation(conversation)
        with self._using() as database:
            if self.full_text:
                database.execute("DELETE FROM words WHERE rowid IN (SELECT number FROM exchange WHERE conversation = ?)", (conversation,))
            database.execute("DELETE FROM conversation WHERE id = ?", (conversation,))

    def begin(self, conversation: str | None, question: str, asked: Sequence[Asked], blind: bool = False) -> Exchange:
        """A new exchange with its answers still empty, in a new conversation where none is given. Raises UnknownIdError."""
        now, exchange = time.time(), _new_id()
        if conversation is not None:
            self.conversation(conversation)
        with self._using() as database:
            if conversation is None:
                conversation = _new_id()
                database.execute("INSERT INTO conversation VALUES (?, ?, ?, ?)", (conversation, _title(question), now, now))
            database.execute("UPDATE conversation SET updated = ? WHERE id = ?", (now, conversation))
            database.execute(
                "INSERT INTO exchange (id, conversation, question, created, blind) VALUES (?, ?, ?, ?, ?)",
                (exchange, conversation, question, now, blind),
            )
            for side, who in enumerate(asked):
                decoding = json.dumps(who.decoding)
                values = (_new_id(), exchange, side, who.model, who.base, who.method, who.prompt_style, decoding, who.version)
                database.execute(
                    "INSERT INTO answer (id, exchange, side, model, base, method, prompt_style, decoding, version)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
        return self.exchange(exchange)

    def keep(self, answer: Answer) -> None:
        """What is written of an answer by now; with a `finish`, all of it."""
        written = (answer.content, answer.finish, answer.num_tokens, answer.prompt_tokens, answer.first_token_s, answer.seconds)
        with self._using() as database:
            database.execute(
                "UPDATE answer SET content = ?, finish = ?, num_tokens = ?, prompt_tokens = ?, first_token_s = ?, seconds = ?"
                " WHERE id = ?",
                (*written, answer.id),
            )
            if answer.finish:
                self._index(database, "SELECT exchange FROM answer WHERE id = ?", answer.id)

    def rate(self, answer: str, rating: int | None) -> Exchange:
        """1 is good, -1 is bad, None takes it back. Raises UnknownIdError."""
        return self._set(answer, "rating", rating)

    def edit(self, answer: str, content: str | None) -> Exchange:
        """The user's better text; None takes it back. Raises UnknownIdError."""
        return self._set(answer, "edited", content or None)

    def choose(self, exchange: str, choice: int | str) -> Exchange:
        """The vote on two answers. Raises UnknownIdError, and UserError where there is one answer only, or a blind vote was given."""
        found = self.exchange(exchange)
        if len(found.answers) != 2:
            raise UserError("only two answers side by side can be voted on: ask two models")
        if found.blind and found.choice not in (None, choice):
            raise UserError("this blind vote was given, and who wrote which answer is known since: it stays as it is")
        with self._using() as database:
            database.execute("UPDATE exchange SET choice = ? WHERE id = ?", (json.dumps(choice), exchange))
        return self.exchange(exchange)

    def setting(self, name: str) -> Any:
        """What `set_setting` kept; None where it kept nothing."""
        with self._using() as database:
            row = database.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_setting(self, name: str, value: Any) -> None:
        with self._using() as database:
            database.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, json.dumps(value)))

    def _set(self, answer: str, column: str, value: object) -> Exchange:
        exchange = self.exchange_of(answer)
        with self._using() as database:
            database.execute(f"UPDATE answer SET {column} = ? WHERE id = ?", (value, answer))
            self._index(database, "SELECT exchange FROM answer WHERE id = ?", answer)
        return self.exchange(exchange.id)

    def _matching(self, words: Sequence[str]) -> tuple[str, list[str]]:
        """SQL for the ids of the conversations that have all the words, and its values; empty without words."""
        queries, values = list[str](), list[str]()
        for word in words:
            like = "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
            if self.full_text and re.fullmatch(r"\w+", word):  # an index knows words alone, and code is more than these
                indexed = "SELECT conversation FROM exchange WHERE number IN (SELECT rowid FROM words WHERE words MATCH ?)"
                values += ['"' + word.replace('"', '""') + '"*', like]
            else:
                indexed = (
                    r"SELECT conversation FROM exchange JOIN answer ON answer.exchange = exchange.id WHERE question LIKE ? ESCAPE '\'"
                    r" OR content LIKE ? ESCAPE '\' OR edited LIKE ? ESCAPE '\'"
                )
                values += [like] * 4
            queries.append(rf"SELECT * FROM ({indexed} UNION SELECT id FROM conversation WHERE title LIKE ? ESCAPE '\')")
        return " INTERSECT ".join(queries), values

    def _index(self, database: sqlite3.Connection, exchanges: str, *values: str) -> None:
        """Have the texts of these exchanges found by their words."""
        if not self.full_text:  # found by their letters, and indexed once there is an index
            database.execute(f"UPDATE exchange SET indexed = 0 WHERE id IN ({exchanges})", values)
            return
        for (id,) in database.execute(exchanges, values).fetchall():
            exchange = self.exchange(id)
            texts = [exchange.question, *(f"{answer.content}\n{answer.edited or ''}" for answer in exchange.answers)]
            (number,) = database.execute("UPDATE exchange SET indexed = 1 WHERE id = ? RETURNING number", (id,)).fetchone()
            database.execute("DELETE FROM words WHERE rowid = ?", (number,))
            database.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, "\n".join(texts)))

    def _hold(self) -> None:
        try:
            self._held.enter_context(locked(self._path.parent))
        except UserError as error:
            if "in use" not in str(error):
                raise
            raise UserError(f"{self._path} is held by another codetune process: end that, or give this one another folder") from None

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """The connection for one thread, in a transaction. What goes wrong with the file is a UserError."""
        with self._lock:
            try:
                if self._database.in_transaction:
                    yield self._database
                else:
                    with self._database:
                        self._database.execute("BEGIN IMMEDIATE")
                        yield self._database
            except sqlite3.Error as error:
                raise UserError(f"the history {self._path} failed: {error}; free disk space, or move the file away") from None
            except OSError as error:
                raise disk_error(error, self._path) from None


def _answer(row: sqlite3.Row) -> Answer:
    asked = Asked(row["model"], row["base"], row["method"], row["prompt_style"], json.loads(row["decoding"]), row["version"])
    names = ("content", "finish", "num_tokens", "prompt_tokens", "first_token_s", "seconds", "rating", "edited")
    return Answer(row["id"], row["side"], asked, **{name: row[name] for name in names})


def _title(question: str) -> str:
    """The first line of a question, shortened."""
    line = next((" ".join(line.split()) for line in question.splitlines() if line.strip()), "")
    return line if len(line) <= _TITLE_CHARACTERS else line[: _TITLE_CHARACTERS - 1].rstrip() + "…"


def _new_id() -> str:
    """Never one that was there before, in this file or in an earlier one: feedback refers to it."""
    return secrets.token_hex(8)
