"""The live engine for OpenAI-compatible servers: what it asks, what it makes of their streams, and of servers that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.live import Ask, BusyError, Piece, TokenLogprob, TooLongError, UnknownModelError, stream, write
from codetune.generate.live_server import LiveServer
from codetune.generate.server import Server
from codetune.records import Message
from tests.openai_server import Asked, Reply, ScriptedServer, fault, serving, streamed, written

KEY = "sk-very-secret-0123456789"
TURNS = (Message("user", "Add."), Message("assistant", "1 + 1"), Message("user", "Again."))
TWO = DecodingConfig(temperature=0.5, top_p=0.9, max_new_tokens=7, seed=3, n=2)


@contextmanager
def engine_of(
    reply: Callable[[Asked], Reply], models: tuple[str, ...] = ("tiny",), **more: Any
) -> Iterator[tuple[LiveServer, ScriptedServer]]:
    with serving(reply, models) as server, closing(LiveServer(Server(server.url, wait=lambda _: None, live=True, **more))) as engine:
        yield engine, server


def answer(reply: Callable[[Asked], Reply], ask: Ask) -> tuple[list[Piece], ScriptedServer]:
    with engine_of(reply) as (engine, server):
        return list(stream(engine, ask)), server


def said(index: int = 0, text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    """An event of /chat/completions."""
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish, **more}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}


def test_a_conversation_is_sent_whole_and_its_pieces_come_as_they_are_said() -> None:
    ask = Ask("tiny", TURNS, decoding=TWO.model_copy(update={"n": 1}), stop=("\n\n",))
    with engine_of(lambda asked: streamed(said(text="2 +"), said(text=" 2"), said(finish="stop"), USAGE), key=KEY) as (engine, server):
        told = list(stream(engine, ask))
        ticket = engine.submit(ask, lambda piece: None)
    assert told == [Piece(0, "2 +", "", 1), Piece(0, " 2", "", 2), Piece(0, "", "stop", 9)]
    asked = server.asked[0]
    assert (asked.path, asked.authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert asked.body == {
        "model": "tiny", "n": 1, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 3, "stop": ["\n\n"],
        "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": one.role, "content": one.content} for one in TURNS],
    }  # fmt: skip
    ticket.cancel()


def test_a_text_goes_to_completions_as_it_is_with_what_follows_the_hole() -> None:
    event = {"choices": [{"index": 0, "text": "x", "finish_reason": "length"}]}
    told, server = answer(lambda asked: streamed(event), Ask("tiny", prompt="def f(", suffix="): pass"))
    assert told[-1] == Piece(0, "", "length", 1)
    asked = server.asked[0]
    assert (asked.path, asked.body["prompt"], asked.body["suffix"]) == ("/v1/completions", "def f(", "): pass")
    _, server = answer(lambda asked: streamed(event), Ask("tiny", prompt=(1, 2)))
    assert server.asked[0].body["prompt"] == [1, 2]
    assert "suffix" not in server.asked[0].body


def test_a_style_of_ours_is_written_here_and_ends_at_its_own_stop_sequences() -> None:
    """The server does not know them all: what it says after one is not shown, nor is anything waited for."""
    event = {"choices": [{"index": 0, "text": "return 1\n##"}]}, {"choices": [{"index": 0, "text": "# More"}]}
    told, server = answer(lambda asked: streamed(*event, ends=False), Ask("tiny", TURNS[2:], prompt_style="instruction"))
    assert server.asked[0].body["prompt"] == "### Instruction:\nAgain.\n\n### Response:\n"
    assert server.asked[0].body["stop"] == ["\n### "]
    assert told == [Piece(0, "return 1", "", 1), Piece(0, "", "stop", 2)]
    with pytest.raises(UserError, match=r"prompt style 'austin-3shot' is not for a model behind a server: .*valid: alpaca, chat"):
        answer(lambda asked: streamed(), Ask("tiny", TURNS, prompt_style="austin-3shot"))


def test_log_probabilities_of_both_endpoints() -> None:
    top = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.0}]
    chat = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": top}]}
    expected = (TokenLogprob("a", -0.5, (("a", -0.5), ("b", -1.0))),)
    told, server = answer(lambda asked: streamed(said(text="a", finish="length", logprobs=chat)), Ask("tiny", TURNS, logprobs=2))
    assert told[0].logprobs == expected
    assert (server.asked[0].body["logprobs"], server.asked[0].body["top_logprobs"]) == (True, 2)
    flat = {"tokens": ["^", "a"], "token_logprobs": [None, -0.5], "top_logprobs": [None, {"b": -1.0, "a": -0.5}]}
    event = {"choices": [{"index": 0, "text": "a", "finish_reason": "length", "logprobs": flat}]}
    told, server = answer(lambda asked: streamed(event), Ask("tiny", prompt="p", logprobs=2))
    assert told[0].logprobs == expected
    assert server.asked[0].body["logprobs"] == 2
    assert "logprobs" not in answer(lambda asked: streamed(said(finish="stop")), Ask("tiny", TURNS))[1].asked[0].body


def test_several_continuations_come_mixed_and_each_one_ends() -> None:
    events = said(1, "b"), said(0, "a"), said(0, "", "stop", stop_reason=None), said(1, "c", "length"), said(2, "no one asked"), USAGE
    told, _ = answer(lambda asked: streamed(*events), Ask("tiny", TURNS, decoding=TWO, stop=("x",)))
    assert told == [Piece(1, "b", "", 1), Piece(0, "a", "", 1), Piece(1, "c", "", 2), Piece(0, "", "eos", 1), Piece(1, "", "length", 2)]


def test_a_server_that_gives_one_choice_is_asked_again_with_another_seed() -> None:
    def reply(asked: Asked) -> Reply:
        return streamed(said(text=str(asked.body["seed"]), finish="stop"))

    told, server = answer(reply, Ask("tiny", TURNS, decoding=TWO))
    assert [(asked.body["n"], asked.body["seed"]) for asked in server.asked] == [(2, 3), (1, 4)]
    assert [(piece.index, piece.text) for piece in told if piece.text] == [(0, "3"), (1, "4")]


def test_a_server_that_refuses_several_choices_is_asked_for_one_and_that_is_remembered() -> None:
    def reply(asked: Asked) -> Reply:
        if asked.body["n"] > 1 or len(asked.body.get("stop", ())) > 4 or "stream_options" in asked.body:
            return fault(400, "n must be 1")
        return streamed(said(text="a|5b"), said(text="c", finish="stop"))

    with engine_of(reply) as (engine, server):
        ask = Ask("tiny", TURNS, decoding=TWO, stop=("|1", "|2", "|3", "|4", "|5"))
        told = list(stream(engine, ask))
        assert [piece for piece in told if piece.index == 1] == [Piece(1, "a", "", 1), Piece(1, "", "stop", 1)]
        assert len(server.asked) == 3
        list(stream(engine, ask))
        assert len(server.asked) == 5


def test_a_prompt_that_leaves_less_room_is_asked_without_a_number_of_tokens() -> None:
    def reply(asked: Asked) -> Reply:
        return fault(400, "maximum context length is 9") if "max_tokens" in asked.body else streamed(said(text="x", finish="length"))

    told, _ = answer(reply, Ask("tiny", TURNS))
    assert told[-1].finish == "length"


def test_a_server_that_does_not_stream_is_read_all_the_same() -> None:
    told, _ = answer(lambda asked: written(asked, "one", "two", tokens=None), Ask("tiny", TURNS, decoding=TWO))
    assert told == [Piece(0, "one", "", 1), Piece(1, "two", "", 1), Piece(0, "", "eos", 1), Piece(1, "", "eos", 1)]


@pytest.mark.parametrize(
    ("reply", "kind", "says", "tries"),
    [
        (fault(429, f"slow down, {KEY}"), BusyError, r"answers 429: slow down, \*\*\*: ask again later", 1),
        (fault(404, "no 'tiny'"), UnknownModelError, r"answers 404: no 'tiny'; did you mean 'tiny'\? valid: other, tiny", 1),
        (fault(400, "x", code="context_length_exceeded"), TooLongError, r"answers 400: x", 2),
        (fault(401, f"{KEY} is wrong"), UserError, r"refuses the key in OPENAI_API_KEY \(401\): \*\*\* is wrong", 1),
        (fault(400, "temperature must be 1"), UserError, r"answers 400: temperature must be 1", 2),
        (fault(500, "out of memory"), UserError, r"failed 3 times \(500 out of memory\): see to the server, then ask again$", 3),
        (Reply(None), UserError, r"failed 3 times \(.+\)", 3),
        (streamed({"error": {"message": f"a fault: {KEY}"}}), UserError, r"writing failed: a fault: \*\*\*$", 1),
        (streamed(said(text="x"), ends=False), UserError, r"writing failed: the server broke the answer off", 1),
        (streamed([]), UserError, r"writing failed: the server answers what is no JSON object: \[\]", 1),
        (streamed({"choices": []}), UserError, r"writing failed: the server answered without choices that end", 1),
        (streamed({"choices": ["x"]}), UserError, r"writing failed: .+", 1),
        (Reply(b"<html>", headers={"Content-Type": "text/html"}), UserError, r"writing failed: .* no JSON object: <html>", 1),
    ],
)  # fmt: skip
def test_faults_are_one_line_of_their_kind_without_the_key(reply: Reply, kind: type[UserError], says: str, tries: int) -> None:
    with engine_of(lambda asked: reply, ("other", "tiny"), key=KEY) as (engine, server):
        with pytest.raises(kind, match=says) as raised:
            write(engine, Ask("tiny", TURNS))
        assert type(raised.value) is kind
        assert len(str(raised.value).splitlines()) == 1
        assert KEY not in repr(raised.getrepr(style="long"))
        assert len(server.asked) == tries


def test_what_is_served_and_what_the_list_says_of_it() -> None:
    with serving(lambda asked: streamed(said(text="x", finish="stop")), ()) as server:
        with pytest.raises(UserError, match=r"--model is missing: .* has no list of models"):
            LiveServer(Server(server.url, live=True))
        with closing(LiveServer(Server(server.url, live=True), "mine")) as engine:
            assert [(each.name, each.max_positions) for each in engine.models()] == [("mine", None)]
    with serving(lambda asked: streamed(), ("a", "b")) as server, closing(LiveServer(Server(server.url, live=True), "b")) as engine:
        assert [(each.name, each.method, each.prompt_style) for each in engine.models()] == [("b", "base", "chat"), ("a", "server", "chat")]
    with pytest.raises(UserError, match=r"no server answers at http://127\.0\.0\.1:9/v1"):
        LiveServer(Server("http://127.0.0.1:9/v1", live=True))
    with pytest.raises(UserError, match="the prompt is empty"):
        answer(lambda asked: streamed(), Ask("tiny"))
