"""vLLM in the own process as a live engine, on CUDA: one base, and LoRA adapters by request.

Written for vLLM 0.33 by its source (v1/engine/async_llm.py, sampling_params.py, outputs.py, lora/request.py), and never run: no GPU was
there. What needs no GPU, how an ask becomes sampling parameters and outputs become pieces, is tested.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from codetune.errors import UserError
from codetune.generate.asked import prompt_of, too_long
from codetune.generate.live import FAILED, Ask, BusyError, Piece, ServedModel, TokenLogprob, TooLongError, UnknownModelError
from codetune.models.load import load_tokenizer, read_config
from codetune.models.names import resolve
from codetune.models.open import trained_prompt_style
from codetune.records import Json


@dataclass(frozen=True, slots=True)
class Lora:
    """An adapter that vLLM can load, see `export.vllm.objections`; `room` is its rank, or the next larger one that vLLM has."""

    folder: Path
    room: int


class VllmEngine:
    """Answers by the base and by `adapters`. As many as `waiting` asks may be under way: vLLM queues them itself."""

    name = "vllm"

    def __init__(self, vllm: Any, base: str, adapters: Mapping[str, Lora], waiting: int = 256) -> None:
        """`vllm` has the modules that `installed` finds. Raises UserError where it will not start."""
        self._vllm, self._waiting, self._going = vllm, waiting, 0
        self._tokenizer, self._text = load_tokenizer(base), threading.Lock()
        self._vocab_size = read_config(base)[1].vocab_size
        make = vllm.lora.LoRARequest
        self._loras = {name: make(name, number, str(lora.folder)) for number, (name, lora) in enumerate(adapters.items(), 1)}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True).start()
        lora = {"enable_lora": True, "max_loras": len(adapters), "max_lora_rank": max((each.room for each in adapters.values()), default=0)}
        options = {"model": resolve(base), **(lora if adapters else {})}
        try:
            self._engine = asyncio.run_coroutine_threadsafe(self._start(options), self._loop).result()
        except Exception as error:  # no GPU, too little memory, a family that it has not
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise UserError(f"vLLM does not start with {base}: {' '.join(str(error).split())}; --engine own serves it") from None
        self._positions = int(self._engine.model_config.max_model_len)
        usual, infills = "chat" if "chat" in self._tokenizer.styles else "instruction", self._tokenizer.infill_marks is not None
        folders: dict[str, Path | None] = {base: None} | {name: lora.folder for name, lora in adapters.items()}
        self._models = {
            name: ServedModel(
                name, base, "lora" if folder else "base", (trained_prompt_style(folder) if folder else None) or usual,
                self._tokenizer.styles, self._positions, infills,
            )
            for name, folder in folders.items()
        }  # fmt: skip

    def models(self) -> tuple[ServedModel, ...]:
        return tuple(self._models.values())

    def submit(self, ask: Ask, tell: Callable[[Piece], None]) -> _Taken:
        if (model := self._models.get(ask.model)) is None:
            raise UnknownModelError.of(ask.model, self._models)
        with self._text:
            ids, stops = prompt_of(ask, model.prompt_style, model.styles, self._tokenizer, self._vocab_size)
        if (room := self._positions - len(ids)) < 1:
            raise TooLongError(too_long(len(ids), str(self._positions)))
        if self._going >= self._waiting:
            raise BusyError(f"{self._going} requests are under way already, and at most {self._waiting} may be: try again later")
        kind = self._vllm.params.RequestOutputKind.DELTA
        params = self._vllm.params.SamplingParams(**sampling_of(ask, stops, room), output_kind=kind)
        taken = _Taken(len(ids), tell)
        taken.writing = asyncio.run_coroutine_threadsafe(self._write(ids, params, self._loras.get(ask.model), taken), self._loop)
        return taken

    def close(self) -> None:
        self._engine.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _start(self, options: Json) -> Any:
        """On the loop, where it is to run."""
        return self._vllm.async_llm.AsyncLLM.from_engine_args(self._vllm.arg_utils.AsyncEngineArgs(**options))

    async def _write(self, ids: list[int], params: Any, lora: Any, taken: _Taken) -> None:
        """Cancelling this has vLLM give the request up, by its own rule."""
        self._going += 1  # only on the loop's thread
        counts: dict[int, int] = {}
        try:
            async for output in self._engine.generate({"prompt_token_ids": ids}, params, uuid.uuid4().hex, lora_request=lora):
                for one in output.outputs:
                    counts[one.index] = counts.get(one.index, 0) + len(one.token_ids)
                    taken.tell(piece_of(one, counts[one.index], params.logprobs))
        except Exception as error:
            taken.tell(Piece(0, " ".join(str(error).split()) or type(error).__name__, FAILED))
        finally:
            self._going -= 1


class _Taken:
    """An ask under way."""

    def __init__(self, prompt_tokens: int, tell: Callable[[Piece], None]) -> None:
        self.prompt_tokens, self._tell, self._cancelled = prompt_tokens, tell, False
        self.writing: Future[None] | None = None

    def cancel(self) -> None:
        self._cancelled = True
        if self.writing is not None:
            self.writing.cancel()

    def tell(self, piece: Piece) -> None:
        if not self._cancelled:
            self._tell(piece)


def sampling_of(ask: Ask, stops: tuple[str, ...], room: int) -> Json:
    """The fields of vLLM's SamplingParams. It holds back itself what could become a stop sequence."""
    decoding = ask.decoding
    return {
        "n": decoding.n, "temperature": decoding.temperature, "top_p": decoding.top_p, "seed": decoding.seed,
        "max_tokens": min(decoding.max_new_tokens, room), "stop": list(stops), "logprobs": ask.logprobs,
    }  # fmt: skip


def piece_of(output: Any, num_tokens: int, top: int | None) -> Piece:
    """A CompletionOutput with what is new. `stop_reason` is the stop sequence, the id of an end token, or None for EOS."""
    reason = output.finish_reason
    finish = {None: "", "length": "length", "stop": "stop" if isinstance(output.stop_reason, str) else "eos"}.get(reason, FAILED)
    if finish == FAILED:
        return Piece(output.index, f"vLLM ended the answer: {reason}", FAILED, num_tokens)
    places = zip(output.token_ids, output.logprobs or (), strict=False)
    return Piece(output.index, output.text, finish, num_tokens, tuple(_logprob(place, token, top or 0) for token, place in places))


def _logprob(place: Mapping[int, Any], token: int, top: int) -> TokenLogprob:
    """vLLM has the likeliest `top` tokens at a place, and the one that was drawn wherever it ranks."""
    likeliest = sorted(place.values(), key=lambda each: -each.logprob)[:top]
    return TokenLogprob(place[token].decoded_token, place[token].logprob, tuple((each.decoded_token, each.logprob) for each in likeliest))


def installed() -> Any:
    """The modules of vLLM that are needed. Raises UserError where it is not installed."""
    names = {"async_llm": "v1.engine.async_llm", "arg_utils": "engine.arg_utils", "params": "sampling_params", "lora": "lora.request"}
    try:
        return SimpleNamespace(**{short: importlib.import_module(f"vllm.{name}") for short, name in names.items()})
    except ImportError as error:
        raise UserError(f"--engine vllm needs vLLM ({error}): pip install 'codetune[vllm]' on a machine with CUDA") from None
