"""Asking: streams of one or two models, what they are told of the conversation, blind votes, and giving up."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from page_client import Page, page
from running_server import serving

from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import FAILED, Ask, Piece, Ticket
from codetune.serve.assistant import Assistant
from codetune.serve.history import History
from codetune.serve.settings import ServeSettings

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028 \0 ' \" ```html\n<b>{}</b>\n``` ünï 漢字 🐍\r\ndata: {}\n\n"


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Page]:
    with page(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def unasked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page(tmp_path_factory.mktemp("unasked")) as opened:
        yield opened


def test_an_answer_is_streamed_and_kept(asked: Page) -> None:
    events = asked.events("/api/ask", content="Reverse a string.\nPlease.", models=["tuned"], decoding={"temperature": 0.5, "seed": 7})
    assert events[0]["type"] == "begin"
    assert [event["type"] for event in events][-2:] == ["end", "done"]
    text = "".join(event["text"] for event in events if event["type"] == "piece")
    assert text == "tuned 1 Reverse a string.\nPlease."
    answer, conversation = events[-2]["answer"], events[0]["conversation"]
    assert (answer["content"], answer["finish"], answer["model"], answer["side"]) == (text, "eos", "tuned", 0)
    assert answer["decoding"] == {"temperature": 0.5, "top_p": 1.0, "max_new_tokens": 256, "seed": 7}
    assert (answer["num_tokens"], answer["prompt_tokens"], answer["prompt_style"]) == (6, 4, "instruction")
    assert 0 <= answer["first_token_s"] <= answer["seconds"]
    assert asked.get("/api/conversations")["conversations"][0] | {"created": 0, "updated": 0} == {
        "id": conversation["id"], "title": "Reverse a string.", "created": 0, "updated": 0,
    }  # fmt: skip
    kept = asked.get(f"/api/conversations/{conversation['id']}")
    assert (kept["title"], kept["exchanges"][0]["answers"]) == ("Reverse a string.", [answer])
    assert asked.engine.asked[0].prompt_style is None


def test_two_models_answer_side_by_side_each_its_own_stream(tmp_path: Path) -> None:
    """Their pieces come as they are written, not one answer after the other."""
    both = threading.Barrier(2, timeout=30)

    def in_turns(ask: Ask, index: int) -> str:
        both.wait()  # neither is ever whole before the other one has begun
        return f"{ask.model} says " + "word " * 30

    with page(tmp_path, in_turns, pause_s=0.005) as opened:
        events = opened.events("/api/ask", content="x", models=["base", "tuned"])
    sides = [event["side"] for event in events if event["type"] == "piece"]
    assert sides != sorted(sides)
    assert sides != sorted(sides, reverse=True)
    for side, name in enumerate(("base", "tuned")):
        text = "".join(event["text"] for event in events if event["type"] == "piece" and event["side"] == side)
        (end,) = [event["answer"] for event in events if event["type"] == "end" and event["side"] == side]
        assert text == end["content"] == f"{name} says " + "word " * 30
        assert end["model"] == name


def test_a_model_is_told_what_was_chosen_and_edited_before(asked: Page) -> None:
    first = asked.ask("one", "base", "tuned")
    asked.post("/api/feedback", kind="vote", exchange_id=first["id"], choice=1)
    second = asked.ask("two", conversation_id=first["conversation"])
    asked.post("/api/feedback", kind="edit", answer_id=second["answers"][0]["id"], content="my own")
    asked.ask("three", "tuned", conversation_id=first["conversation"])
    told = [(message.role, message.content) for message in asked.engine.asked[-1].messages]
    assert told == [("user", "one"), ("assistant", "tuned 1 one"), ("user", "two"), ("assistant", "my own"), ("user", "three")]


def test_the_oldest_exchanges_are_left_out_where_they_do_not_fit(asked: Page) -> None:
    long = "word " * 1500
    exchange = asked.ask(long)
    for _ in range(3):
        exchange = asked.ask(long, conversation_id=exchange["conversation"])
    assert len(asked.exchanges(exchange["conversation"])) == 4
    assert [len(ask.messages) for ask in asked.engine.asked] == [1, 3, 3, 3]  # of the fake's 4096 positions
    asked.ask("short", conversation_id=exchange["conversation"])
    assert [len(message.content.split()) for message in asked.engine.asked[-1].messages] == [1500, 256, 1500, 256, 1]
    refused = asked.client.post("/api/ask", json={"content": "word " * 5000, "models": ["base"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert len(asked.get("/api/conversations")["conversations"]) == 1, "what was not answered leaves nothing behind"


def test_a_blind_vote_withholds_who_answered_until_it_is_given(asked: Page) -> None:
    orders = Counter[tuple[str, ...]]()
    for _ in range(20):
        events = asked.events("/api/ask", content="name nobody", models=["base", "tuned"], blind=True)
        exchange, conversation = events[0]["exchange"], events[0]["conversation"]["id"]
        before = json.dumps([events[0], *(event for event in events if event["type"] == "end"), asked.exchanges(conversation)])
        withheld = before.replace("base 1 name", "").replace("tuned 1 name", "")  # the fake's own words
        assert "base" not in withheld
        assert "tuned" not in withheld
        voted = asked.post("/api/feedback", kind="vote", exchange_id=exchange["id"], choice="tie")
        (after,) = asked.exchanges(conversation)
        assert [answer["model"] for answer in after["answers"]] == voted["models"]
        assert [answer["content"].split()[0] for answer in after["answers"]] == voted["models"]
        assert after["chosen"] == "tie"
        orders[tuple(voted["models"])] += 1
    assert set(orders) == {("base", "tuned"), ("tuned", "base")}, "the sides are shuffled: 20 times the same has a chance of 2e-6"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"models": ["base"]}, 400, "content"), ({"content": "x"}, 400, "models"), ({"content": "x", "models": []}, 400, "models"),
        ({"content": " \n", "models": ["base"]}, 400, "content"), ({"content": "x", "models": ["bse"]}, 404, "model"),
        ({"content": "x", "models": ["base"] * 3}, 400, "models"), ({"content": "x", "models": ["base"], "blind": True}, 400, "models"),
        ({"content": "x", "models": ["base"], "conversation_id": "none"}, 404, None),
        ({"content": "x", "models": ["base"], "decoding": {"temperature": -1}}, 400, "decoding.temperature"),
        ({"content": "x", "models": ["base"], "decoding": {"max_new_tokens": 0}}, 400, "decoding.max_new_tokens"),
        ({"content": "x", "models": ["base"], "more": 1}, 400, "more"), ([], 400, None),
        ({"content": 1, "models": "base"}, 400, "content"),
        ({"content": "x", "models": ["base"], "prompt_style": "alpca"}, 400, "prompt_style"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_question_is_said_and_nothing_is_kept(unasked: Page, body: Any, status: int, param: str | None) -> None:
    answer = unasked.client.post("/api/ask", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert unasked.engine.asked == []
    assert unasked.get("/api/conversations") == {"conversations": []}


def test_a_full_queue_is_a_429_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Also where the first of two models was taken already: it is given up."""
    with page(tmp_path, most=1, pause_s=0.01) as opened:
        answer = opened.client.post("/api/ask", json={"content": "x " * 500, "models": ["base", "tuned"]})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert opened.get("/api/conversations") == {"conversations": []}
        while opened.engine.running:
            threading.Event().wait(0.01)
        assert opened.ask("y")["answers"][0]["finish"] == "eos"


def test_more_tokens_than_the_server_allows_are_cut(tmp_path: Path) -> None:
    with page(tmp_path, settings=ServeSettings(max_new_tokens=2)) as opened:
        (answer,) = opened.ask("x", decoding={"max_new_tokens": 9999})["answers"]
    assert (answer["content"], answer["finish"], answer["decoding"]["max_new_tokens"]) == ("base 1", "length", 2)


def test_text_full_of_markup_crosses_unharmed(tmp_path: Path) -> None:
    with page(tmp_path, lambda ask, index: ask.messages[-1].content) as opened:
        exchange = opened.ask(HOSTILE)
        assert exchange["question"] == exchange["answers"][0]["content"] == HOSTILE
        assert opened.get("/api/conversations", query="onerror=alert")["conversations"][0]["id"] == exchange["conversation"]


class Failing(FakeLiveEngine):
    """Fails at the second model, after a word."""

    def submit(self, ask: Ask, tell: Any) -> Ticket:
        if ask.model == "tuned":
            tell(Piece(0, "half", "", 1))
            tell(Piece(0, "out of memory at 0x7f", FAILED))
        return super().submit(ask, tell if ask.model == "base" else lambda piece: None)


def test_one_side_may_fail_while_the_other_goes_on(tmp_path: Path) -> None:
    engine = Failing(lambda ask, index: "all of it", ("base", "tuned"))
    with closing(History(tmp_path / "assistant.sqlite")) as history, serving(Assistant(engine, history=history)) as url:
        with httpx.stream("POST", f"{url}/api/ask", json={"content": "x", "models": ["base", "tuned"]}) as answer:
            events = [json.loads(line[6:]) for line in answer.iter_lines() if line]
        (error,) = [event for event in events if event["type"] == "error"]
        assert error["side"] == 1
        assert "0x7f" not in error["message"], "what failed is in the log"
        ends = {event["side"]: event["answer"] for event in events if event["type"] == "end"}
        assert (ends[0]["content"], ends[0]["finish"], ends[1]["finish"]) == ("all of it", "eos", "failed")
        assert events[-1] == {"type": "done"}


def test_closing_the_connection_frees_the_engine_and_keeps_what_was_written(tmp_path: Path) -> None:
    engine = FakeLiveEngine(lambda ask, index: "word " * 5000, ("base", "tuned"), pause_s=0.002)
    with closing(History(tmp_path / "assistant.sqlite")) as history, serving(Assistant(engine, history=history)) as url:
        with httpx.stream("POST", f"{url}/api/ask", json={"content": "x", "models": ["base", "tuned"]}) as answer:
            seen = set[int]()
            for line in answer.iter_lines():
                event = json.loads(line[6:]) if line else {"type": ""}
                if event["type"] == "begin":
                    begun = event
                if event["type"] == "piece":
                    seen.add(event["side"])
                if len(seen) == 2:
                    break
        while engine.running:
            threading.Event().wait(0.01)
        conversation = begun["conversation"]["id"]
        while not all(answer.finish for answer in history.exchanges(conversation)[0].answers):
            threading.Event().wait(0.01)
        kept = httpx.get(f"{url}/api/conversations/{conversation}").json()["exchanges"][0]["answers"]
    assert [answer["finish"] for answer in kept] == ["cancelled"] * 2
    assert all(answer["content"].startswith("word") and answer["num_tokens"] < 5000 for answer in kept)


def test_a_history_that_fails_on_the_way_ends_the_answer_and_says_why(tmp_path: Path) -> None:
    """As on a full disk: answers can no more be written to the file."""
    with page(tmp_path) as opened:
        with closing(sqlite3.connect(tmp_path / "assistant.sqlite")) as database:
            database.execute("CREATE TRIGGER full BEFORE UPDATE ON answer BEGIN SELECT RAISE(ABORT, 'no room'); END")
        events = opened.events("/api/ask", content="x", models=["base"])
    assert [event["type"] for event in events] == ["begin", "piece", "error", "end", "done"]
    assert "no room" in events[2]["message"]


def test_conversations_are_renamed_and_deleted(asked: Page) -> None:
    one, two = asked.ask("zebra"), asked.ask("lion")
    renamed = asked.client.patch(f"/api/conversations/{one['conversation']}", json={"title": "Stripes"}).json()
    assert renamed["title"] == "Stripes"
    assert [each["title"] for each in asked.get("/api/conversations", query="stri zeb")["conversations"]] == ["Stripes"]
    assert asked.client.delete(f"/api/conversations/{one['conversation']}").json() == {"deleted": one["conversation"]}
    assert [each["id"] for each in asked.get("/api/conversations")["conversations"]] == [two["conversation"]]
    for method in ("get", "delete"):
        answer = getattr(asked.client, method)(f"/api/conversations/{one['conversation']}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert asked.client.get("/api/conversations?limit=0").status_code == 400
    assert asked.client.get("/api/conversations?before=nan").status_code == 400


def test_the_state_says_what_there_is(asked: Page, tmp_path: Path) -> None:
    state = asked.get("/api/state")
    assert [model["name"] for model in state["models"]] == ["base", "tuned"]
    assert state["models"][1]["styles"] == ["instruction", "alpaca", "completion"]
    assert state["sandbox"] == {"tier": None, "missing": "no sandbox in this test"}
    assert state["limits"] == {"max_new_tokens": 1024, "default_new_tokens": 256, "rounds": 4}
    assert state["feedback"] == {"enabled": False, "path": str(tmp_path / "feedback.jsonl")}


def test_with_a_key_nothing_of_it_is_open(tmp_path: Path) -> None:
    with page(tmp_path, settings=ServeSettings(api_key="secret")) as opened:
        schema = opened.client.app.openapi()  # type: ignore[attr-defined]
        routes = [(method, path) for path, item in schema["paths"].items() if path.startswith("/api") for method in item]
        assert len(routes) == 15
        for method, path in routes:
            assert opened.client.request(method, path.replace("{id}", "x"), json={}).status_code == 401, path
        assert opened.client.get("/api/state", headers={"Authorization": "Bearer secret"}).status_code == 200
        assert opened.client.get("/studies/x/report.html").status_code == 401
