"""The history's file: what is kept, found, refused, and left after a kill."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from codetune.errors import UserError
from codetune.serve.history import NEITHER, Asked, Exchange, History

BASE, TUNED = Asked("base", "base", "base"), Asked("tuned", "base", "lora", "alpaca", {"temperature": 0.0}, "1.0")


@pytest.fixture(params=[True, False], ids=["index", "no index"])
def history(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[History]:
    with closing(History(tmp_path / "assistant.sqlite", full_text=request.param)) as opened:
        assert opened.full_text is request.param
        yield opened


def said(history: History, question: str, *contents: str, conversation: str | None = None, blind: bool = False) -> Exchange:
    exchange = history.begin(conversation, question, (BASE, TUNED)[: len(contents)], blind)
    for answer, content in zip(exchange.answers, contents, strict=True):
        history.keep(dataclasses.replace(answer, content=content, finish="eos", num_tokens=3))
    return history.exchange(exchange.id)


def test_what_was_said_is_there_in_order(history: History) -> None:
    first = said(history, "  Reverse a\tstring, please:\n\nand fast", "s[::-1]")
    second = said(history, "Shorter", "s[::-1]!", "reversed(s)", conversation=first.conversation)
    assert history.exchanges(first.conversation) == (first, second)
    assert history.conversation(first.conversation).title == "Reverse a string, please:"
    assert [answer.asked for answer in second.answers] == [BASE, TUNED]
    assert (second.answers[1].content, second.answers[1].finish, second.answers[1].num_tokens) == ("reversed(s)", "eos", 3)


def test_conversations_come_the_latest_first_and_page_by_page(history: History) -> None:
    made = [said(history, f"Question {number}", "x").conversation for number in range(5)]
    said(history, "Once more", "x", conversation=made[0])
    everything = history.conversations()
    assert [one.id for one in everything] == [made[0], *reversed(made[1:])]
    assert history.conversations(limit=2) == everything[:2]
    assert history.conversations(before=everything[1].updated) == everything[2:]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("palindrome", ["a"]), ("PALIN", ["a"]), ("is_palindrome(", ["a"]), ("slices palin", ["a"]), ("fibonacci", ["b"]),
        ("numbers edited", ["b"]), ("python", ["b", "a"]), ("python fibonacci", ["b"]), ("palin fibonacci", []), ("[::-1]", ["a"]),
        ("==", ["a"]), ("100%", ["b"]), ('"', []), ("%", ["b"]), ("a OR b NEAR(", []), ("'; DROP TABLE answer; --", []), ("renamed", ["a"]),
        ("\0", ["b", "a"]), ("", ["b", "a"]), ("ü", ["b"]), ("* -palin", []),
    ],
)  # fmt: skip
def test_search_is_by_words_in_titles_questions_answers_and_edits(history: History, query: str, found: list[str]) -> None:
    """Nothing that is searched for is taken for SQL, or for the index's own language."""
    a = said(history, "How is a word tested in python?", "def is_palindrome(s): return s == s[::-1]  # slices")
    history.rename(a.conversation, "Renamed")
    b = said(history, "Write the Fibonacci numbers in Python für 100%", "def fib(): ...")
    history.edit(b.answers[0].id, "an edited answer")
    names = {a.conversation: "a", b.conversation: "b"}
    assert [names[one.id] for one in history.conversations(query)] == found


def test_what_is_deleted_is_gone_and_not_found(history: History) -> None:
    gone, left = said(history, "Secret one", "secret answer"), said(history, "Secret two", "x")
    history.delete(gone.conversation)
    assert [one.id for one in history.conversations("secret")] == [left.conversation]
    with pytest.raises(UserError, match=f"no exchange '{gone.id}'"):
        history.exchange(gone.id)
    with pytest.raises(UserError, match="no answer"):
        history.rate(gone.answers[0].id, 1)
    for call in (history.conversation, history.exchanges, history.delete):
        with pytest.raises(UserError, match="no conversation"):
            call(gone.conversation)
    with pytest.raises(UserError, match="no conversation"):
        history.begin("nowhere", "x", (BASE,))


def test_the_conversation_goes_on_with_the_chosen_answer(history: History) -> None:
    exchange = said(history, "q", "first", "second")
    assert exchange.taken == exchange.answers[0]
    chosen = history.choose(exchange.id, 1)
    assert chosen.taken == chosen.answers[1]
    assert history.choose(exchange.id, NEITHER).taken == exchange.answers[0]
    assert said(history, "q", "", "second").taken.content == "second"  # type: ignore[union-attr]
    assert said(history, "q", "").taken is None
    with pytest.raises(UserError, match="only two answers"):
        history.choose(said(history, "q", "alone").id, 0)


def test_a_blind_vote_is_given_once(history: History) -> None:
    exchange = said(history, "q", "first", "second", blind=True)
    assert exchange.is_open
    assert not history.choose(exchange.id, 0).is_open
    assert history.choose(exchange.id, 0).choice == 0
    with pytest.raises(UserError, match="stays as it is"):
        history.choose(exchange.id, 1)


def test_ratings_and_edits_are_taken_back(history: History) -> None:
    answer = said(history, "q", "x").answers[0].id
    assert history.rate(answer, -1).answers[0].rating == -1
    assert history.rate(answer, None).answers[0].rating is None
    assert history.edit(answer, "y").answers[0].edited == "y"
    assert history.edit(answer, None).answers[0].edited is None


def test_many_threads_write_at_once(history: History) -> None:
    conversation = said(history, "q", "x").conversation

    def write(number: int) -> None:
        for _ in range(5):
            said(history, f"from {number}", "y", conversation=conversation)
            history.conversations("from")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history.exchanges(conversation)) == 31


WRITER = """
import dataclasses, sys, time
from pathlib import Path
from codetune.serve.history import Asked, History
history = History(Path(sys.argv[1]))
exchange = history.begin(None, "A question about zebras", (Asked("base", "base", "base"),))
history.keep(dataclasses.replace(exchange.answers[0], content="half an ans", num_tokens=3))
print("written", flush=True)
time.sleep(60)
"""


def test_what_was_streamed_survives_a_kill_and_is_marked_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "assistant.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        with pytest.raises(UserError, match="held by another codetune process"):
            History(path)
        os.kill(writer.pid, signal.SIGKILL)
    with closing(History(path)) as history:
        (conversation,) = history.conversations("zebras ans")
        (exchange,) = history.exchanges(conversation.id)
        assert (exchange.answers[0].content, exchange.answers[0].finish) == ("half an ans", "cancelled")


def test_what_was_written_without_an_index_is_found_by_one_later(tmp_path: Path) -> None:
    path = tmp_path / "assistant.sqlite"
    for full_text, word in ((True, "one"), (False, "two"), (True, "three")):
        with closing(History(path, full_text)) as history:
            said(history, word, "x")
            assert [len(history.conversations(each)) for each in ("one", "two", "three")].count(1) == {"one": 1, "two": 2, "three": 3}[word]


def test_settings_stay(tmp_path: Path) -> None:
    with closing(History(tmp_path / "h")) as history:
        assert history.setting("feedback") is None
        history.set_setting("feedback", True)
    with closing(History(tmp_path / "h")) as history:
        assert history.setting("feedback") is True


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE recipes (name)")
        database.commit()


def newer(path: Path) -> None:
    History(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version=99")


def torn(path: Path) -> None:
    with closing(History(path)) as history:
        for number in range(50):
            said(history, f"q {number} " + "words " * 200, "x")
    content = bytearray(path.read_bytes())
    content[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("no database at all, but a letter of some length\n" * 50), "is no history, or is damaged"),
        (foreign, "another program's database"), (newer, "of a newer codetune"), (torn, "damaged"),
        (lambda path: path.mkdir(), "cannot open"),
    ],
    ids=["text", "foreign", "newer", "torn", "folder"],
)  # fmt: skip
def test_a_file_that_is_no_history_is_one_line_and_stays_as_it_is(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "assistant.sqlite"
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    for _ in range(2):  # nothing is held by the failure
        with pytest.raises(UserError, match=message) as raised:
            History(path)
        assert "\n" not in str(raised.value)
    assert (path.read_bytes() if path.is_file() else None) == before
