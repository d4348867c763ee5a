"""The engine for OpenAI-compatible servers: what it asks, what it makes of the answers, and of servers that misbehave."""

from __future__ import annotations

import datetime
import email.utils
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.openai import MESSAGES, OpenAIEngine
from codetune.generate.request import Generated, Request
from codetune.generate.server import Server
from codetune.prompts.template import make_template
from codetune.records import Problem
from tests.openai_server import Asked, Reply, fault, serving, written

KEY = "sk-very-secret-0123456789"
SAMPLED = DecodingConfig(temperature=0.5, top_p=0.9, max_new_tokens=7, seed=3, n=2)


def ask(reply: Callable[[Asked], Reply], *requests: Request, endpoint: str = "completions", **more: Any) -> tuple[list[Generated], Any]:
    """The answers to `requests`, and the server as it was left."""
    with serving(reply) as server:
        engine = OpenAIEngine(Server(server.url, wait=lambda _: None, **more), "tiny", endpoint)
        return engine.generate(requests, SAMPLED), server


def test_all_of_the_decoding_is_sent_to_completions() -> None:
    request = Request("t/0", "def f(x):\n", n=2, stop=("\ndef ",))
    made, server = ask(lambda asked: written(asked, "    return x", "    return 1", tokens=7), request, key=KEY)
    (asked,) = server.asked
    assert (asked.path, asked.authorization) == ("/v1/completions", f"Bearer {KEY}")
    assert asked.body == {
        "model": "tiny", "prompt": "def f(x):\n", "n": 2, "stop": ["\ndef "], "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "seed": 3
    }  # fmt: skip
    assert made == [Generated("t/0", 0, "    return x", "stop", 4), Generated("t/0", 1, "    return 1", "stop", 3)]


def test_chat_sends_turns_and_worked_examples_as_earlier_ones() -> None:
    example = Problem("e", instruction="Say 'hi' & <b>.", reference="print('hi')\n")
    rendered = make_template("chat", MESSAGES, [example]).render(Problem("t/0", instruction="Add."))
    request = Request("t/0", rendered.prompt, has_special=rendered.has_special)
    _, server = ask(lambda asked: written(asked, "x"), request, Request("t/1", "plain"), endpoint="chat")
    bodies = sorted((asked.body for asked in server.asked), key=lambda body: len(body["messages"]))
    assert bodies[0]["messages"] == [{"role": "user", "content": "plain"}]
    assert bodies[1]["messages"] == [
        {"role": "user", "content": "Say 'hi' & <b>."},
        {"role": "assistant", "content": "print('hi')\n"},
        {"role": "user", "content": "Add."},
    ]
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert all("stop" not in body and "prompt" not in body for body in bodies)


def test_requests_are_asked_at_once_and_answered_in_order() -> None:
    """No request is answered before three are there, the first not before the others are reported."""
    barrier, others_are_in = threading.Barrier(3, timeout=30), threading.Event()
    reported: list[str] = []

    def reply(asked: Asked) -> Reply:
        barrier.wait()
        if asked.prompt == "p0" and not others_are_in.wait(30):
            return fault(400, "the others were not reported as they came")
        return written(asked, asked.prompt.upper())

    def report(some: Sequence[Generated]) -> None:
        reported.extend(one.text for one in some)
        if len(reported) == 2:
            others_are_in.set()

    with serving(reply) as server:
        engine = OpenAIEngine(Server(server.url), "tiny", "chat", concurrency=3)
        requests = [Request(f"t/{number}", f"p{number}") for number in range(3)]
        made = engine.generate(requests, DecodingConfig(), report)
    assert [one.text for one in made] == ["P0", "P1", "P2"]
    assert (sorted(reported[:2]), reported[2]) == (["P1", "P2"], "P0")


def test_what_may_pass_is_tried_again_after_waits_that_double_or_as_asked() -> None:
    soon = email.utils.format_datetime(datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1))
    replies = [
        Reply({}, 429, {"Retry-After": "2.5"}), Reply(b"<html>bad gateway</html>", 502), Reply(None),
        Reply({}, 503, {"Retry-After": soon}), fault(429, "slow down"), Reply({}, 408),
    ]  # fmt: skip
    waits: list[float] = []
    with serving(lambda asked: replies[asked.number] if asked.number < 6 else written(asked, "done")) as server:
        engine = OpenAIEngine(Server(server.url, wait=waits.append), "tiny", "chat")
        assert engine.generate([Request("t/0", "p")], DecodingConfig())[0].text == "done"
    assert waits == [2.5, 2.0, 4.0, 0.0, 16.0, 32.0]


def test_a_server_that_says_nothing_in_time_is_asked_again() -> None:
    silent = threading.Event()

    def reply(asked: Asked) -> Reply:
        if asked.number == 0:
            silent.wait(30)
        return written(asked, "done")

    made, server = ask(reply, Request("t/0", "p"), timeout_s=0.3)
    silent.set()
    assert made[0].text == "done"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "says", "tries"),
    [
        (fault(500, "CUDA out of memory"), r"/v1/completions failed 7 times \(500 CUDA out of memory\): see to the server", 7),
        (Reply(None), r"failed 7 times \(.+\)", 7),
        (Reply({}, 429, {"Retry-After": "3600"}), r"asks to be left alone for 3600 s", 1),
        (fault(404, "no model 'tiny'"), r"answers 404 for model 'tiny': no model 'tiny'; its models: tiny; --endpoint", 1),
        (fault(401, "a key is needed"), r"asks for a key \(401\): put it in OPENAI_API_KEY, or name a variable with --api-key-env", 1),
        (fault(400, "temperature must be 1"), r"problem t/0: .* answers 400: temperature must be 1", 2),
        (Reply({"detail": [{"loc": ["body", "n"]}]}, 422), r"answers 422: \[\{'loc'", 2),
        (Reply(b"<html>hello</html>"), r"is no OpenAI-compatible server: POST /completions answers 200: <html>hello</html>", 1),
        (Reply(b"", 307, {"Location": "/elsewhere"}), r"is no OpenAI-compatible server: .* answers 307", 1),
        (Reply({"error": {"message": "upstream is gone"}}), r"answered without choices: .*upstream is gone", 1),
        (Reply({"choices": []}), r"answered without choices", 1),
        (Reply({"choices": [None]}), r"answered without choices: \{\"choices\": \[null\]\}", 1),
    ],
)
def test_what_will_not_pass_is_said_in_one_line(reply: Reply, says: str, tries: int) -> None:
    asked: list[Asked] = []
    with pytest.raises(UserError, match=says) as caught:
        ask(lambda each: (asked.append(each), reply)[1], Request("t/0", "p", n=2))
    assert "\n" not in str(caught.value)
    assert len(asked) == tries


def test_neither_key_nor_password_is_repeated() -> None:
    for user, key in (("", KEY + "\n"), (f"me:{KEY}@", "")):
        with serving(lambda asked: fault(401, f"not {KEY}, with which you come as {asked.authorization}")) as server:
            reached = Server(server.url.replace("//", f"//{user}"), key, "MY_KEY")
            assert reached.url == server.url
            with pytest.raises(UserError, match=r"refuses the key in MY_KEY \(401\): not \*\*\*, with which you come as B") as caught:
                reached.post("/completions", {})
            assert KEY not in str(caught.value)
            assert server.asked[0].authorization.startswith("Basic " if user else f"Bearer {KEY}")


@pytest.mark.parametrize("key", ["sk-\nsecret", "sk-sécret"])
def test_a_key_that_no_header_can_carry(key: str) -> None:
    with pytest.raises(UserError, match="the key in OPENAI_API_KEY cannot be sent") as caught:
        Server("http://h", key)
    assert "cret" not in str(caught.value)


def test_no_server_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"no server answers at {url}/v1 \(.*refused.*\): start it, or mend --base-url"):
        Server(url, wait=lambda _: pytest.fail("nobody waits for a server that is not there")).models()


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http://", "", "http://h/v1?key=hunter2", "//me:hunter2@host", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="is no server's address: give http") as caught:
        Server(url)
    assert "hunter2" not in str(caught.value)


def test_an_address_without_a_path_means_v1() -> None:
    assert [Server(url).url for url in ("http://host:1", "http://host:1/", "https://host/api/v3/")] == [
        "http://host:1/v1", "http://host:1/v1", "https://host/api/v3",
    ]  # fmt: skip


def test_a_server_that_ignores_n_is_asked_again_with_another_seed() -> None:
    made, server = ask(lambda asked: written(asked, f"answer {asked.number}", tokens=5), Request("t/0", "p", n=3))
    assert [(one.index, one.text, one.num_tokens) for one in made] == [(0, "answer 0", 5), (1, "answer 1", 5), (2, "answer 2", 5)]
    assert [(asked.body["n"], asked.body["seed"]) for asked in server.asked] == [(3, 3), (2, 4), (1, 5)]


def test_a_server_that_gives_more_than_asked_for() -> None:
    made, _ = ask(lambda asked: written(asked, "a", "b", "c"), Request("t/0", "p", n=2))
    assert [one.text for one in made] == ["a", "b"]


def test_a_server_that_refuses_choices_and_stops_is_asked_for_less_from_then_on() -> None:
    def reply(asked: Asked) -> Reply:
        if asked.body["n"] > 1 or len(asked.body.get("stop", ())) > 4:
            return fault(400, "only one choice, and at most 4 stop sequences")
        return written(asked, "ab\ncd5")

    stops = tuple(f"d{number}" for number in range(6))
    requests = [Request("t/0", "p", n=2, stop=stops), Request("t/1", "p", stop=stops)]
    with serving(reply) as server:
        made = OpenAIEngine(Server(server.url), "tiny", "completions", concurrency=1).generate(requests, SAMPLED)
    assert [(one.text, one.finish) for one in made] == [("ab\nc", "stop")] * 3  # the sixth is cut here
    assert [(asked.body["n"], len(asked.body["stop"])) for asked in server.asked] == [(2, 6), (1, 4), (1, 4), (1, 4)]
    assert [asked.body["seed"] for asked in server.asked] == [3, 3, 4, 3]


@pytest.mark.parametrize(
    ("reply", "stop", "text", "finish", "tokens"),
    [
        (lambda asked: written(asked, "a", finish="length"), (), "a", "length", 6),
        (lambda asked: written(asked, "a"), (), "a", "eos", 6),
        (lambda asked: written(asked, "a"), ("b",), "a", "stop", 6),
        (lambda asked: written(asked, "a", stop_reason=None), ("b",), "a", "eos", 6),  # vLLM, at EOS
        (lambda asked: written(asked, "a", stop_reason="b"), ("b",), "a", "stop", 6),
        (lambda asked: written(asked, "a b", finish="length"), ("b",), "a ", "stop", 6),  # a server that ignores stop
        (lambda asked: written(asked, "a", finish="content_filter"), (), "a", "content_filter", 6),
        (lambda asked: written(asked, "a", tokens=None), (), "a", "eos", 0),
        (lambda asked: Reply({"choices": [{"message": {"content": None}}], "usage": None}), (), "", "", 0),
    ],
)
def test_what_is_made_of_an_answer(reply: Callable[[Asked], Reply], stop: tuple[str, ...], text: str, finish: str, tokens: int) -> None:
    (made,), _ = ask(reply, Request("t/0", "p", stop=stop), endpoint="chat")
    assert made == Generated("t/0", 0, text, finish, tokens)


@pytest.mark.parametrize(
    "refusal",
    [
        fault(400, "Please reduce the length of the messages.", code="context_length_exceeded"),
        Reply({"object": "error", "message": "This model's maximum context length is 64 tokens.", "code": 400}, 400),
        fault(400, "the request exceeds the available context size", type="exceed_context_size_error"),
    ],
    ids=["openai", "vllm", "llama.cpp"],
)
def test_a_prompt_too_long_for_the_server_is_no_fault_of_the_run(refusal: Reply) -> None:
    def reply(asked: Asked) -> Reply:
        return refusal if asked.prompt == "long" else written(asked, "a", "b")

    made, server = ask(reply, Request("t/0", "long", n=2), Request("t/1", "short", n=2))
    assert [(one.text, one.finish) for one in made] == [("", "too_long"), ("", "too_long"), ("a", "eos"), ("b", "eos")]
    assert len(server.asked) == 2
