"""What of the protocol is taken without effect and what is refused by name, as the official client sends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from running_server import serving

from codetune.generate.fake_live import FakeLiveEngine
from codetune.serve.assistant import Assistant

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def engine() -> FakeLiveEngine:
    return FakeLiveEngine(lambda ask, index: "fine", ("tiny",))


@pytest.fixture(scope="module")
def client(engine: FakeLiveEngine) -> Iterator[openai.OpenAI]:
    with serving(Assistant(engine)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model="tiny", messages=HELLO, **more)


HARMLESS: dict[str, Any] = {
    "user": "me", "store": True, "metadata": {"a": "b"}, "service_tier": "auto", "parallel_tool_calls": True, "frequency_penalty": 0,
    "presence_penalty": 0.0, "logit_bias": {}, "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "top_p": 0,
    "modalities": ["text"], "prediction": {"type": "content", "content": "x"}, "stop": None, "safety_identifier": "s", "seed": None,
}  # fmt: skip


@pytest.mark.parametrize("field", HARMLESS)
def test_what_changes_nothing_is_taken(client: openai.OpenAI, field: str) -> None:
    assert chat(client, extra_body={field: HARMLESS[field]}).choices


def test_tools_that_must_not_be_called_are_taken(client: openai.OpenAI) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    assert chat(client, tools=[tool], tool_choice="none").choices


REFUSED: dict[str, Any] = {
    "frequency_penalty": 0.5, "presence_penalty": -1, "logit_bias": {"5": 100}, "tool_choice": "required", "top_k": 5, "n": 0,
    "tools": [{"type": "function", "function": {"name": "f"}}], "response_format": {"type": "json_object"}, "temperature": 2.5,
    "modalities": ["text", "audio"], "stop": [""], "seed": "seven", "max_tokens": 0, "top_logprobs": 2, "prompt_style": "klingon",
    "stream_options": {"include_usage": True}, "logprobs": 3, "functions": [{"name": "f"}], "web_search_options": {}, "top_p": 1.5,
    "reasoning_effort": "high", "audio": {"voice": "x"},
}  # fmt: skip


@pytest.mark.parametrize("field", REFUSED)
def test_what_is_not_done_is_refused_by_name(client: openai.OpenAI, engine: FakeLiveEngine, field: str) -> None:
    before = len(engine.asked)
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, extra_body={field: REFUSED[field]})
    assert caught.value.param == field
    assert caught.value.type == "invalid_request_error"
    assert len(engine.asked) == before


@pytest.mark.parametrize(
    ("field", "value"), [("echo", True), ("best_of", 3), ("logprobs", 21), ("prompt", []), ("prompt", [-1]), ("prompt", [[1], []])]
)
def test_what_completions_do_not_do_is_refused_by_name(client: openai.OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": "tiny", "prompt": "x", field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("turns", "param"),
    [
        ([], "messages"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([*HELLO, {"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, *HELLO], "messages[1].tool_calls"),
        ([*HELLO, {"role": "assistant", "content": "x"}], "messages"),
    ],
)
def test_messages_that_are_not_understood_are_refused(client: openai.OpenAI, turns: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tiny", messages=turns)
    assert caught.value.param == param
