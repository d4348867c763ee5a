"""What users say of answers becomes rows to learn from: opt-in, as last judged, and never what they rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from feedback_rows import BAD, GOOD, write_feedback
from page_client import Page, page

from codetune.config import DataConfig
from codetune.data.sources import load_documents
from codetune.data.sources.load import documents
from codetune.data.training import training_data
from codetune.data_recipe import SourceConfig
from codetune.records import AssertTest, CallTest, Document
from codetune.serve.workbench import Workbench

WRONG, RIGHT = "def add(a, b):\n    return a - b\n", "def add(a, b):\n    return a + b\n"


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Page]:
    with page(tmp_path) as opened:
        opened.post("/api/feedback/enable", enabled=True)
        yield opened


def rows(tmp_path: Path) -> list[Any]:
    path = tmp_path / "feedback.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def learned(tmp_path: Path) -> list[Document]:
    return list(documents(SourceConfig(source=str(tmp_path / "feedback.jsonl")), strict=True))


def answers(documents: list[Document]) -> list[str]:
    return [text for one in documents for text in ([one.text] if one.text else [m.content for m in one.messages if m.role == "assistant"])]


def rate(judged: Page, exchange: Any, rating: int | None, side: int = 0) -> Any:
    return judged.post("/api/feedback", kind="rate", answer_id=exchange["answers"][side]["id"], rating=rating)


def test_nothing_is_written_before_somebody_asks_for_it(tmp_path: Path) -> None:
    with page(tmp_path) as opened:
        exchange = opened.ask("one")
        assert rate(opened, exchange, 1) == {"kept": False}
        assert rows(tmp_path) == []
        assert opened.exchanges(exchange["conversation"])[0]["answers"][0]["rating"] == 1, "it is in the history all the same"
        assert opened.post("/api/feedback/enable", enabled=True) == {"enabled": True, "path": str(tmp_path / "feedback.jsonl")}
        other = opened.ask("two")
        assert rate(opened, other, 1) == {"kept": True}
        assert [row["messages"][0]["content"] for row in rows(tmp_path)] == ["two"], "what was said before stays out"
    with page(tmp_path) as again:
        assert again.get("/api/state")["feedback"]["enabled"] is True
        again.post("/api/feedback/enable", enabled=False)
        assert rate(again, again.ask("three"), 1) == {"kept": False}
        assert rate(again, other, -1) == {"kept": True}, "what is there is not left wrong"
    assert answers(learned(tmp_path)) == []


def test_a_good_answer_carries_what_produced_it(judged: Page, tmp_path: Path) -> None:
    exchange = judged.ask("Reverse it.", "tuned", decoding={"temperature": 0.3, "seed": 5}, prompt_style="alpaca")
    assert rate(judged, exchange, 1) == {"kept": True}
    (row,) = rows(tmp_path)
    version = judged.get("/api/state")["version"]
    assert row == {
        "id": f"answer-{exchange['answers'][0]['id']}", "kind": "rating",
        "conversation": exchange["conversation"], "exchange": exchange["id"],
        "messages": [{"role": "user", "content": "Reverse it."}, {"role": "assistant", "content": "tuned 1 Reverse it."}], "rejected": [],
        "time": exchange["created"], "model": "tuned", "base": "base", "adapter": "tuned", "method": "fake", "prompt_style": "alpaca",
        "decoding": {"temperature": 0.3, "top_p": 1.0, "max_new_tokens": 256, "seed": 5}, "version": version,
    }  # fmt: skip
    (document,) = learned(tmp_path)
    assert (document.kind, document.group, document.source) == ("chat", exchange["conversation"], "feedback")


def test_the_last_rating_counts_and_an_answer_is_there_once(judged: Page, tmp_path: Path) -> None:
    exchange = judged.ask("one")
    for rating in (1, -1, 1, 1, -1):
        rate(judged, exchange, rating)
    (row,) = rows(tmp_path)
    assert (row["messages"][-1]["role"], row["rejected"]) == (
        "user", [{"content": "base 1 one", "model": "base", "why": "rated down"}],
    )  # fmt: skip
    assert learned(tmp_path) == []
    rate(judged, exchange, None)
    assert rows(tmp_path) == []
    rate(judged, exchange, 1)
    assert answers(learned(tmp_path)) == ["base 1 one"]


@pytest.mark.parametrize(
    ("choice", "good", "bad"),
    [(0, ["base 1 q"], ["tuned 1 q"]), (1, ["tuned 1 q"], ["base 1 q"]), ("tie", [], []), ("neither", [], ["base 1 q", "tuned 1 q"])],
)
def test_a_vote_teaches_the_better_answer(judged: Page, tmp_path: Path, choice: Any, good: list[str], bad: list[str]) -> None:
    exchange = judged.ask("q", "base", "tuned")
    judged.post("/api/feedback", kind="vote", exchange_id=exchange["id"], choice=choice)
    if choice != "tie":
        rate(judged, exchange, 1, side=1)  # no thumb makes the loser of a vote, or what neither was, something to learn
    assert answers(learned(tmp_path)) == good if rows(tmp_path) else good == []
    assert [one["content"] for row in rows(tmp_path) for one in row["rejected"]] == bad


def test_an_edit_teaches_the_users_text_even_of_a_loser(judged: Page, tmp_path: Path) -> None:
    exchange = judged.ask("q", "base", "tuned")
    judged.post("/api/feedback", kind="vote", exchange_id=exchange["id"], choice=0)
    judged.post("/api/feedback", kind="edit", answer_id=exchange["answers"][1]["id"], content="better")
    assert answers(learned(tmp_path)) == ["base 1 q", "better"]
    assert {row["kind"]: [one["why"] for one in row["rejected"]] for row in rows(tmp_path)} == {
        "vote": ["the other was better"], "edit": ["the other was better"],
    }  # fmt: skip
    judged.post("/api/feedback", kind="edit", answer_id=exchange["answers"][1]["id"], content=None)
    assert answers(learned(tmp_path)) == ["base 1 q"]


def test_a_later_answer_is_not_learned_after_one_that_was_rejected(judged: Page, tmp_path: Path) -> None:
    """All answers of a conversation are learned: so what is in front must not be bad, whenever that is said."""
    first = judged.ask("one")
    second = judged.ask("two", conversation_id=first["conversation"])
    rate(judged, second, 1)
    assert answers(learned(tmp_path)) == ["base 1 one", "base 3 two"]
    rate(judged, first, -1)
    assert learned(tmp_path) == []
    assert [row.get("after_rejected") for row in rows(tmp_path)] == [True, None]
    judged.post("/api/feedback", kind="edit", answer_id=first["answers"][0]["id"], content="one, put right")
    assert answers(learned(tmp_path)) == ["one, put right", "base 3 two", "one, put right"]


def test_a_deleted_conversation_leaves_the_file_and_other_lines_stay(judged: Page, tmp_path: Path) -> None:
    gone, left = judged.ask("one"), judged.ask("two")
    for exchange in (gone, left):
        rate(judged, exchange, 1)
    with (tmp_path / "feedback.jsonl").open("ab") as file:
        file.write(b'{"id": 3, "messages": [], "rejected": []}\nnot JSON\n')
    judged.client.delete(f"/api/conversations/{gone['conversation']}")
    lines = (tmp_path / "feedback.jsonl").read_text().splitlines()
    assert [json.loads(line)["exchange"] for line in lines[:-2]] == [left["id"]]
    assert lines[-2:] == ['{"id": 3, "messages": [], "rejected": []}', "not JSON"]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"kind": "thumb"}, {"kind": "rate", "answer_id": "x", "rating": 5}, {"kind": "rate", "answer_id": "x", "rating": True},
        {"kind": "vote", "exchange_id": "x", "choice": 2}, {"kind": "edit", "answer_id": "x"}, [],
        {"kind": "rate", "answer_id": "none", "rating": 1}, {"kind": "vote", "exchange_id": "none", "choice": 0},
        {"kind": "mend", "code": "x", "tests": "assert 1", "mended": "y", "model": "z"},
    ],
)  # fmt: skip
def test_a_judgement_that_is_none_is_refused(judged: Page, tmp_path: Path, body: Any) -> None:
    answer = judged.client.post("/api/feedback", json=body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]
    assert rows(tmp_path) == []


def test_a_mended_program_is_a_pair_with_its_tests_where_the_sandbox_agrees(tmp_path: Path) -> None:
    body = {"kind": "mend", "question": "Add two numbers.", "code": WRONG, "error": "assert add(1, 2) == 3", "model": "tuned"}
    with closing(Workbench(workers=1, memory_mb=256)) as bench, page(tmp_path, workbench=bench) as opened:
        opened.post("/api/feedback/enable", enabled=True)
        for mended, tests, why in (
            (WRONG, "assert add(1, 2) == 3", "does not pass the tests"), (RIGHT, "assert add(0, 0) == 0", "nothing to mend"),
            ("def add(a, b):\n    import os\n    os._exit(0)\n", "assert add(1, 2) == 3", "does not pass the tests (killed"),
        ):  # fmt: skip
            refused = opened.post("/api/feedback", **body, mended=mended, tests=tests)
            assert why in refused["error"]["message"]
        assert rows(tmp_path) == []
        assert opened.post("/api/feedback", **body, mended=RIGHT, tests="assert add(1, 2) == 3") == {"kept": True}
        assert opened.post("/api/feedback", **body, mended=RIGHT + "\n", tests="assert add(1, 2) == 3") == {"kept": True}
        calls = '[{"input": [1, 2], "output": 3}]'
        opened.post("/api/feedback", **body, mended=RIGHT, tests=calls, entry_point="add")
    one, two = learned(tmp_path)
    assert (one.kind, one.text, one.tests) == ("pair", RIGHT + "\n", (AssertTest("assert add(1, 2) == 3"),))
    assert (two.entry_point, two.tests) == ("add", (CallTest((1, 2), 3),))
    assert one.input == WRONG
    assert "assert add(1, 2) == 3" in one.instruction
    assert "Add two numbers." in one.instruction
    assert [row["rejected"][0]["content"] for row in rows(tmp_path)] == [WRONG, WRONG]


def test_a_training_takes_the_file_as_its_data(judged: Page, tmp_path: Path) -> None:
    for number in range(3):
        rate(judged, judged.ask(f"question {number}"), 1 if number else -1)
    source = str(tmp_path / "feedback.jsonl")
    data = training_data(DataConfig(source=source))
    assert answers(list(data.documents())) == ["base 1 question 1", "base 1 question 2"]
    assert len(load_documents(source, "train", None)) == 2


def test_every_kind_of_row_is_read_and_nothing_rejected_is_learned(tmp_path: Path) -> None:
    path = write_feedback(tmp_path)
    assert [row["kind"] for row in rows(tmp_path)] == ["rating", "rating", "vote", "edit", "mend"]
    assert answers(learned(tmp_path)) == list(GOOD)
    everything = "".join(document.whole for document in learned(tmp_path) if not document.tests)
    assert not [text for text in BAD if text in everything]
    assert all(text in path.read_text() or json.dumps(text)[1:-1] in path.read_text() for text in BAD), "they are kept in the record"
