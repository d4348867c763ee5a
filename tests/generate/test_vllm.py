"""The live engine over vLLM, as far as it goes without a GPU: what it is asked, what is made of its outputs, and threads and cancelling
over a stand-in with the interface of its AsyncLLM."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.live import Ask, BusyError, Piece, TokenLogprob, TooLongError, UnknownModelError, stream
from codetune.generate.vllm import Lora, VllmEngine, installed, piece_of, sampling_of
from codetune.records import Message

QUESTION = (Message("user", "Add."),)


def test_without_vllm_one_line_names_the_command_that_installs_it() -> None:
    with pytest.raises(UserError, match=r"--engine vllm needs vLLM \(.*\): pip install 'codetune\[vllm\]' on a machine with CUDA"):
        installed()


def test_an_ask_as_sampling_parameters() -> None:
    decoding = DecodingConfig(n=2, temperature=0.2, top_p=0.95, max_new_tokens=50, seed=7)
    assert sampling_of(Ask("m", QUESTION, decoding=decoding, logprobs=3), ("\n### ",), room=20) == {
        "n": 2, "temperature": 0.2, "top_p": 0.95, "seed": 7, "max_tokens": 20, "stop": ["\n### "], "logprobs": 3
    }  # fmt: skip
    assert sampling_of(Ask("m", QUESTION), (), room=1000)["max_tokens"] == 256


def output(text: str, *ids: int, finish: str | None = None, stop: Any = None, logprobs: Any = None, index: int = 0) -> SimpleNamespace:
    """A CompletionOutput."""
    return SimpleNamespace(index=index, text=text, token_ids=ids, finish_reason=finish, stop_reason=stop, logprobs=logprobs)


def test_outputs_as_pieces() -> None:
    assert piece_of(output("a", 5), 3, None) == Piece(0, "a", "", 3)
    assert piece_of(output("", 0, finish="stop", index=1), 4, None) == Piece(1, "", "eos", 4)
    assert piece_of(output("", 0, finish="stop", stop=151643), 4, None).finish == "eos"
    assert piece_of(output("", 0, finish="stop", stop="\n### "), 4, None).finish == "stop"
    assert piece_of(output("b", 5, finish="length"), 4, None) == Piece(0, "b", "length", 4)
    assert piece_of(output("", finish="error"), 4, None) == Piece(0, "vLLM ended the answer: error", "failed", 4)
    drawn, likely = SimpleNamespace(logprob=-2.0, decoded_token="a"), SimpleNamespace(logprob=-0.5, decoded_token="b")
    place = {5: drawn, 6: likely}
    assert piece_of(output("a", 5, logprobs=[place]), 1, 1).logprobs == (TokenLogprob("a", -2.0, (("b", -0.5),)),)
    assert piece_of(output("a", 5, logprobs=[place]), 1, 0).logprobs == (TokenLogprob("a", -2.0),)


class StandIn:
    """AsyncLLM's interface: says two tokens an ask, and then nothing for an hour where the prompt is one token."""

    def __init__(self, options: Any) -> None:
        self.options, self.model_config, self.asked = options, SimpleNamespace(max_model_len=64), list[tuple[Any, ...]]()
        self.given_up, self.is_shut = threading.Event(), False

    async def generate(self, prompt: Any, params: Any, request_id: str, *, lora_request: Any = None) -> AsyncIterator[Any]:
        self.asked.append((prompt["prompt_token_ids"], params, lora_request))
        try:
            yield SimpleNamespace(outputs=[output("one", 1)])
            if len(prompt["prompt_token_ids"]) == 1:
                await asyncio.sleep(3600)
            if params.temperature > 1:
                raise ValueError("a bad\nrequest")
            yield SimpleNamespace(outputs=[output(" two", 2, finish="stop")])
        except asyncio.CancelledError:
            self.given_up.set()
            raise

    def shutdown(self) -> None:
        self.is_shut = True


@contextmanager
def engine(waiting: int = 8, fault: str = "") -> Iterator[tuple[VllmEngine, StandIn]]:
    started: list[StandIn] = []

    def start(options: Any) -> StandIn:
        if fault:
            raise RuntimeError(fault)
        started.append(StandIn(options))
        return started[0]

    vllm = SimpleNamespace(
        async_llm=SimpleNamespace(AsyncLLM=SimpleNamespace(from_engine_args=start)),
        arg_utils=SimpleNamespace(AsyncEngineArgs=SimpleNamespace),
        params=SimpleNamespace(SamplingParams=SimpleNamespace, RequestOutputKind=SimpleNamespace(DELTA="delta")),
        lora=SimpleNamespace(LoRARequest=lambda *arguments: arguments),
    )
    with closing(VllmEngine(vllm, "codetune-base", {"mine": Lora(Path("adapters/mine"), 16)}, waiting)) as made:
        yield made, started[0]
    assert started[0].is_shut


def test_each_ask_names_its_adapter_and_gets_its_pieces() -> None:
    with engine() as (made, stand_in):
        assert list(stream(made, Ask("mine", QUESTION))) == [Piece(0, "one", "", 1), Piece(0, " two", "eos", 2)]
        assert len(list(stream(made, Ask("codetune-base", prompt=(5, 6))))) == 2
        (ids, params, lora), (plain_ids, _, no_lora) = stand_in.asked
        assert lora == ("mine", 1, "adapters/mine")
        assert (no_lora, plain_ids) == (None, [5, 6])
        assert (params.stop, params.max_tokens, params.output_kind) == (["\n### "], 64 - len(ids), "delta")
        assert (stand_in.options.enable_lora, stand_in.options.max_loras, stand_in.options.max_lora_rank) == (True, 1, 16)
        models = [(each.name, each.method, each.max_positions) for each in made.models()]
        assert models == [("codetune-base", "base", 64), ("mine", "lora", 64)]


def test_refusals_and_failures_are_one_line_of_their_kind() -> None:
    with engine(waiting=0) as (made, _):
        with pytest.raises(UnknownModelError, match=r"no model 'yours' is served: .*valid: codetune-base, mine"):
            made.submit(Ask("yours", QUESTION), lambda piece: None)
        with pytest.raises(TooLongError, match="has 64 tokens, so with an answer it is longer than the model's context length of 64:"):
            made.submit(Ask("mine", prompt=(5,) * 64), lambda piece: None)
        with pytest.raises(BusyError, match="0 requests are under way already, and at most 0 may be"):
            made.submit(Ask("mine", QUESTION), lambda piece: None)
    with engine() as (made, _), pytest.raises(UserError, match=r"^writing failed: a bad request$"):
        list(stream(made, Ask("mine", QUESTION, decoding=DecodingConfig(temperature=1.5))))
    with pytest.raises(UserError, match="vLLM does not start with codetune-base: no CUDA; --engine own"), engine(fault="no\nCUDA"):
        pass


def test_cancelling_has_vllm_give_the_request_up() -> None:
    with engine() as (made, stand_in):
        abandoned = stream(made, Ask("mine", prompt=(5,)))
        assert next(abandoned).text == "one"
        abandoned.close()
        assert stand_in.given_up.wait(20)
