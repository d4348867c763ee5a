"""The official client, unmodified, against our server on a real socket; the model is a function, the rest is what users have."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import openai
import pytest
from running_server import serving

from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import FAILED, Ask, Piece, Ticket
from codetune.serve.assistant import Assistant
from codetune.serve.settings import ServeSettings

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
HOSTILE = "</script><img src=x onerror=alert(1)> &amp; \u2028 \\u0000 ```html\n<b>{}</b>\n``` ünï 漢字 🐍"


def answer(ask: Ask, index: int) -> str:
    """What was understood of the ask, so that tests see that it arrived."""
    asked = ask.messages[-1].content if ask.messages else ask.prompt
    if ask.suffix is not None:
        return f"{asked}|hole|{ask.suffix}"
    if asked == "dice":
        random = Random(f"{ask.decoding.seed} {index}")
        return " ".join(str(random.randrange(1000)) for _ in range(8))
    return f"{ask.model} {index}: {asked}"


@pytest.fixture(scope="module")
def engine() -> FakeLiveEngine:
    return FakeLiveEngine(answer, ("tiny", "tiny/lora"))


@pytest.fixture(scope="module")
def client(engine: FakeLiveEngine) -> Iterator[openai.OpenAI]:
    with serving(Assistant(engine)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def chat(client: openai.OpenAI, content: Any, model: str = "tiny", **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}], **more)


def test_models_are_listed_and_retrieved_base_first(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "tiny/lora"]
    assert client.models.retrieve("tiny/lora").model_dump()["base"] == "tiny"


def test_a_chat_is_answered_by_the_model_that_was_named(client: openai.OpenAI) -> None:
    reply = chat(client, "hello", model="tiny/lora")
    assert reply.choices[0].message.content == "tiny/lora 0: hello"
    assert (reply.choices[0].message.role, reply.choices[0].finish_reason, reply.model) == ("assistant", "stop", "tiny/lora")
    assert reply.id.startswith("chatcmpl-")
    assert reply.system_fingerprint.endswith("-fake")
    assert abs(reply.created - time.time()) < 60


def test_two_models_answer_side_by_side(client: openai.OpenAI) -> None:
    answers: dict[str, str] = {}

    def ask(model: str) -> None:
        answers[model] = chat(client, "hi", model=model).choices[0].message.content

    threads = [threading.Thread(target=ask, args=(model,)) for model in ("tiny", "tiny/lora")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {"tiny": "tiny 0: hi", "tiny/lora": "tiny/lora 0: hi"}


def test_a_whole_conversation_reaches_the_model(client: openai.OpenAI, engine: FakeLiveEngine) -> None:
    turns: list[Any] = [
        {"role": "developer", "content": "Be short."}, {"role": "user", "content": "one", "name": "Ann"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}, {"type": "text", "text": "four"}]},
    ]  # fmt: skip
    client.chat.completions.create(model="tiny", messages=turns, extra_body={"prompt_style": "alpaca"})
    asked = engine.asked[-1]
    assert [(turn.role, turn.content) for turn in asked.messages] == [
        ("system", "Be short."), ("user", "one"), ("assistant", "two"), ("user", "three\nfour"),
    ]  # fmt: skip
    assert asked.prompt_style == "alpaca"


def test_what_an_answer_says_can_be_sent_back_as_it_came(client: openai.OpenAI) -> None:
    said = chat(client, "one").choices[0].message.model_dump()
    reply = client.chat.completions.create(model="tiny", messages=[*HELLO, said, *HELLO])
    assert reply.choices[0].message.content == "tiny 0: hello"


def test_decoding_reaches_the_model(client: openai.OpenAI, engine: FakeLiveEngine) -> None:
    chat(client, "x", temperature=0.5, top_p=0.9, seed=7, max_tokens=5, n=2)
    decoding = engine.asked[-1].decoding
    assert (decoding.temperature, decoding.top_p, decoding.seed, decoding.max_new_tokens, decoding.n) == (0.5, 0.9, 7, 5, 2)
    chat(client, "x", max_tokens=5, max_completion_tokens=6)
    assert engine.asked[-1].decoding.max_new_tokens == 6
    chat(client, "x", max_tokens=10**9)
    assert engine.asked[-1].decoding.max_new_tokens == ServeSettings().max_new_tokens
    chat(client, "x")
    assert engine.asked[-1].decoding.max_new_tokens == ServeSettings().default_new_tokens
    assert engine.asked[-1].decoding.temperature == 0


def test_several_answers(client: openai.OpenAI) -> None:
    reply = chat(client, "x", n=3)
    assert [choice.message.content for choice in reply.choices] == [f"tiny {index}: x" for index in range(3)]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]


def test_stop_sequences_end_an_answer_and_are_no_part_of_it(client: openai.OpenAI) -> None:
    for stop in ("three", ["nowhere", "three"], ["three", *(f"s{number}" for number in range(63))]):
        reply = chat(client, "one two three four", stop=stop)
        assert reply.choices[0].message.content == "tiny 0: one two "
        assert reply.choices[0].finish_reason == "stop"


def test_length_is_said_and_usage_counted(client: openai.OpenAI) -> None:
    reply = chat(client, "one two three four five", max_tokens=3)
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].message.content == "tiny 0: one"
    assert reply.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}) == {
        "prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8,
    }  # fmt: skip


def test_a_seed_gives_the_same_again_and_none_gives_another(client: openai.OpenAI) -> None:
    def rolled(**more: Any) -> Any:
        return [choice.message.content for choice in chat(client, "dice", temperature=1.0, n=2, **more).choices]

    assert rolled(seed=3) == rolled(seed=3) != rolled(seed=4)
    assert rolled() != rolled()
    assert rolled(seed=-1) == rolled(seed=-1)


def test_a_stream_is_the_same_as_the_whole(client: openai.OpenAI) -> None:
    chunks = list(chat(client, "one two three", n=2, stream=True, stream_options={"include_usage": True}))
    texts = ["", ""]
    finishes = {}
    for chunk in chunks:
        assert chunk.object == "chat.completion.chunk"
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            finishes |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
    whole = chat(client, "one two three", n=2)
    assert texts == [choice.message.content for choice in whole.choices]
    assert finishes == {0: "stop", 1: "stop"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert not chunks[-1].choices
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_counts_only_where_asked_to(client: openai.OpenAI) -> None:
    assert not any(chunk.usage for chunk in chat(client, "one", stream=True))


def test_log_probabilities_of_a_chat(client: openai.OpenAI) -> None:
    tokens = chat(client, "ünï", logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == "tiny 0: ünï"
    assert bytes(tokens[-1].bytes).decode() == " ünï"
    assert [len(token.top_logprobs) for token in tokens] == [2, 2, 2]
    assert chat(client, "x").choices[0].logprobs is None
    streamed = chat(client, "ünï", logprobs=True, stream=True)
    assert "".join(token.token for chunk in streamed for choice in chunk.choices for token in (choice.logprobs or _none()).content) == (
        "tiny 0: ünï"
    )


def _none() -> Any:
    return type("Nothing", (), {"content": []})


def test_completions_of_one_prompt_several_and_token_ids(client: openai.OpenAI, engine: FakeLiveEngine) -> None:
    reply = client.completions.create(model="tiny", prompt=["one", "two"], n=2)
    assert [choice.text for choice in reply.choices] == ["tiny 0: one", "tiny 1: one", "tiny 0: two", "tiny 1: two"]
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert (reply.object, reply.usage.prompt_tokens if reply.usage else 0) == ("text_completion", 2)
    client.completions.create(model="tiny", prompt=[5, 6, 7])
    assert engine.asked[-1].prompt == (5, 6, 7)
    assert len(client.completions.create(model="tiny", prompt=[[5], [6, 7]]).choices) == 2


def test_completions_stream_with_log_probabilities_and_offsets(client: openai.OpenAI) -> None:
    chunks = list(client.completions.create(model="tiny", prompt=["a b", "c d"], logprobs=1, stream=True))
    for index, word in enumerate(("a b", "c d")):
        mine = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        text = "".join(choice.text for choice in mine)
        assert text == f"tiny 0: {word}"
        tokens = [
            (offset, token)
            for choice in mine
            if choice.logprobs
            for offset, token in zip(choice.logprobs.text_offset or [], choice.logprobs.tokens or [], strict=True)
        ]
        assert all(text[offset : offset + len(token)] == token for offset, token in tokens)
        assert len(tokens) == 4
        assert mine[-1].finish_reason == "stop"


def test_a_hole_is_filled(client: openai.OpenAI) -> None:
    assert client.completions.create(model="tiny", prompt="before", suffix="after").choices[0].text == "before|hole|after"
    assert client.completions.create(model="tiny", prompt="before", suffix="").choices[0].text == "tiny 0: before"


def test_markup_and_script_come_back_as_they_are(client: openai.OpenAI) -> None:
    assert chat(client, HOSTILE).choices[0].message.content == f"tiny 0: {HOSTILE}"
    streamed = chat(client, HOSTILE, stream=True)
    assert "".join(choice.delta.content or "" for chunk in streamed for choice in chunk.choices) == f"tiny 0: {HOSTILE}"
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=[{"role": "user", "content": HOSTILE}])
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-content-type-options"] == "nosniff"


def test_an_unknown_model_is_not_found_and_the_nearest_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean 'tiny/lora'") as caught:
        chat(client, "x", model="tiny/lorra")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_prompt_that_is_too_long_says_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "word " * 5000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_more_answers_than_the_server_writes_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt=["x"] * 9, n=2)
    assert caught.value.param == "n"


def test_a_full_queue_is_429_and_the_client_comes_back() -> None:
    engine = FakeLiveEngine(lambda ask, index: "word " * 50, pause_s=0.01, most=1)
    with serving(Assistant(engine)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        stream = chat(client, "x", model="fake", stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as caught:
            chat(client, "x", model="fake")
        assert caught.value.response.headers["retry-after"] == "1"
        stream.close()
        _until(lambda: engine.running == 0)
        with pytest.raises(openai.RateLimitError):  # the second prompt finds no place: the first one is given up, too
            client.completions.create(model="fake", prompt=["a", "b"])
        _until(lambda: engine.running == 0)
        assert client.with_options(max_retries=2).completions.create(model="fake", prompt="a", max_tokens=2).choices[0].text == "word word"


def test_who_goes_away_frees_the_place() -> None:
    engine = FakeLiveEngine(lambda ask, index: "word " * 1000, pause_s=0.02)
    with serving(Assistant(engine)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        with chat(client, "x", model="fake", stream=True, max_tokens=1000) as stream:
            next(iter(stream))
            assert engine.running == 1
        _until(lambda: engine.running == 0)
        with pytest.raises(openai.APITimeoutError):  # not streamed: the server notices all the same
            chat(client.with_options(timeout=0.2), "x", model="fake", max_tokens=1000)
        assert len(engine.asked) == 2
        _until(lambda: engine.running == 0)


def test_the_asynchronous_client() -> None:
    engine = FakeLiveEngine(answer, ("tiny",), pause_s=0.001)

    async def ask(url: str) -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
            replies = await asyncio.gather(
                *(client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": f"q{number}"}]) for number in range(8))
            )
            text = ""
            async for chunk in await client.chat.completions.create(model="tiny", messages=HELLO, stream=True):
                text += chunk.choices[0].delta.content or ""
            return [reply.choices[0].message.content or "" for reply in replies], text

    with serving(Assistant(engine)) as url:
        assert asyncio.run(ask(url)) == ([f"tiny 0: q{number}" for number in range(8)], "tiny 0: hello")


class FailingEngine(FakeLiveEngine):
    """Writes two words, then fails with a reason that is nothing for clients."""

    def submit(self, ask: Ask, tell: Callable[[Piece], None]) -> Ticket:
        if ask.messages[-1].content == "break":
            raise RuntimeError("secret of the engine")
        told = 0

        def failing(piece: Piece) -> None:
            nonlocal told
            told += 1
            if told <= 2:
                tell(piece)
            elif told == 3:
                tell(Piece(piece.index, "secret of the engine", FAILED))

        return super().submit(ask, failing)


def test_failures_are_said_without_their_inner_reasons() -> None:
    engine = FailingEngine(lambda ask, index: "one two three four", pause_s=0.01)
    with serving(Assistant(engine)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        for content, code in (("x", "writing_failed"), ("break", "internal_error")):
            with pytest.raises(openai.InternalServerError) as caught:
                chat(client, content, model="fake")
            assert caught.value.code == code
            assert "secret" not in caught.value.response.text
        chunks: list[Any] = []
        with pytest.raises(openai.APIError, match="failed to write") as broken:
            chunks.extend(chat(client, "x", model="fake", stream=True))
        assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "one two"
        assert "secret" not in str(broken.value)


def test_the_time_limit_is_an_error_whole_or_streamed() -> None:
    engine = FakeLiveEngine(lambda ask, index: "word " * 1000, pause_s=0.02)
    settings = ServeSettings(timeout_s=0.3)
    with serving(Assistant(engine, settings)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x") as client:
        with pytest.raises(openai.InternalServerError) as caught:
            chat(client, "x", model="fake")
        assert (caught.value.status_code, caught.value.code) == (504, "timeout")
        assert len(engine.asked) == 1, "the client must not try again what takes too long"
        with pytest.raises(openai.APIError, match=r"within 0\.3 s"):
            list(chat(client, "x", model="fake", stream=True))
        _until(lambda: engine.running == 0)


def _until(true: Callable[[], bool]) -> None:
    """Wait for what must come true, for 20 s at most."""
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")
