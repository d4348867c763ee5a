"""A live engine for any OpenAI-compatible server: vLLM, Ollama, llama.cpp, a hosted one, codetune's own.

    with closing(LiveServer(Server("http://localhost:8000/v1", live=True))) as engine:
        print(write(engine, Ask("my-model", messages=(Message("user", "Reverse a string."),))))

A conversation in the style `chat` goes to /chat/completions, where the server writes its turns; in any other style, as in `evaluate`,
it is written here and goes to /completions with the style's stop sequences. A server of codetune's is told the style instead.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

import httpx2

from codetune.errors import UserError, nearest
from codetune.generate.live import FAILED, Ask, BusyError, Piece, ServedModel, Ticket, TooLongError, UnknownModelError
from codetune.generate.openai import plain
from codetune.generate.server import RefusedError, Server
from codetune.generate.streamed import STYLES, Continuation, events, request_of
from codetune.records import Json


class LiveServer:
    """Its models answer as they are named there. Each ask is a request of its own, read by a thread of its own.

    A server that gives fewer choices than asked for, as Ollama does, is asked again with another seed; one that refuses several choices
    or many stop sequences is asked for one choice with the first four. Stop sequences are cut here as well, as a server may ignore
    them. Where a prompt leaves less room than `max_new_tokens`, what room there is, is used.
    """

    name = "openai"

    def __init__(self, server: Server, model: str = "") -> None:
        """Looks for the server. `model` is served first, and also where the server has no list. Raises UserError where there is none."""
        self._server = server
        listed = {str(each["id"]): each for each in server.listed()}
        names = [*([model] if model else []), *(name for name in listed if name != model)]
        if not names:
            raise UserError(f"--model is missing: {server.url} has no list of models, so give the name that it knows")
        self._models = tuple(_served(name, names[0], listed.get(name, {})) for name in names)
        self._knows_styles = {name for name, entry in listed.items() if entry.get("prompt_styles")}
        self._plain = False  # the server wants one choice and few stop sequences
        self._lock = threading.Lock()
        self._going: set[_Reading] = set()

    def models(self) -> tuple[ServedModel, ...]:
        return self._models

    def submit(self, ask: Ask, tell: Callable[[Piece], None]) -> Ticket:
        """Returns as soon as the server begins to answer, which may take a while."""
        path, body, stops = request_of(ask, ask.model in self._knows_styles)
        reading = _Reading(ask.decoding.n, stops, tell)
        reading.response = self._begin(path, body)
        with self._lock:
            self._going.add(reading)
        threading.Thread(target=self._read, args=(reading, path, body), daemon=True).start()
        return reading

    def close(self) -> None:
        with self._lock:
            going = list(self._going)
        for reading in going:
            reading.cancel()
        self._server.close()

    def _begin(self, path: str, body: Json) -> httpx2.Response:
        """The head of an answer. Raises what `submit` raises."""
        asked = _plainer(body) if self._plain else body
        while True:
            try:
                response = self._server.stream(path, asked)
            except RefusedError as refused:
                if refused.status == 429:
                    raise BusyError(f"{refused}: ask again later") from None
                if refused.status in (404, 405):
                    raise UnknownModelError(f"{refused}; {nearest(body['model'], [each.name for each in self._models])}") from None
                easier = {key: asked[key] for key in asked if key != "max_tokens"} if refused.too_long else _plainer(asked)
                if easier == asked:
                    raise (TooLongError if refused.too_long else UserError)(str(refused)) from None
                asked = easier
            else:
                self._plain |= _plainer(asked) == asked
                return response

    def _read(self, reading: _Reading, path: str, body: Json) -> None:
        """Until all continuations are written, or the ask is given up."""
        try:
            reading.read()
            while not reading.cancelled and (missing := reading.missing()):
                first = body["n"] - len(missing)
                reading.response = self._begin(path, body | {"n": len(missing), "seed": body["seed"] + first})
                reading.read()
        except Exception as error:  # whatever a server may send: who waits for the pieces must not wait forever
            reading.say(Piece(0, self._server.clean(str(error)) or type(error).__name__, FAILED))
        finally:
            with self._lock:
                self._going.discard(reading)


class _Reading:
    """An ask that is being answered: the ticket for it, and the continuations that its answers bring."""

    def __init__(self, n: int, stops: Sequence[str], tell: Callable[[Piece], None]) -> None:
        self.prompt_tokens = 0  # until the server has counted them, at the end
        self.cancelled = False
        self.response: httpx2.Response | None = None
        self._tell, self._lock = tell, threading.RLock()
        self._continuations = [Continuation(index, stops) for index in range(n)]

    def cancel(self) -> None:
        """Hangs up: that is how a server learns of it."""
        with self._lock:
            self.cancelled = True
        stream = self.response.extensions.get("network_stream") if self.response else None
        connection = stream.get_extra_info("socket") if stream else None
        if connection is not None:
            with contextlib.suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)  # `close` alone would not wake the thread that reads

    def say(self, piece: Piece) -> None:
        with self._lock:
            if not self.cancelled:
                self._tell(piece)

    def missing(self) -> list[Continuation]:
        """Those that no answer has ended yet."""
        return [each for each in self._continuations if not each.finish]

    def read(self) -> None:
        """One answer to its end. Raises what `events` raises, and UserError for one without choices."""
        assert self.response is not None
        asked, tokens = self.missing(), None
        with contextlib.closing(self.response):
            for event in events(self.response):
                if self.cancelled:
                    return
                usage = event.get("usage") or {}
                self.prompt_tokens = usage.get("prompt_tokens") or self.prompt_tokens
                tokens = usage.get("completion_tokens") or tokens
                for choice in event.get("choices") or ():
                    place = choice.get("index", 0)
                    if place < len(asked) and (piece := asked[place].take(choice)):
                        self.say(piece)
                if all(each.held.stopped for each in asked):  # a server that ignores stop sequences would go on
                    break
        ended = [each for each in asked if each.finish]
        if not ended:
            raise UserError("the server answered without choices that end")
        for each in ended:
            self.say(each.end(tokens if len(ended) == 1 else None))


def _served(name: str, first: str, entry: Json) -> ServedModel:
    """From its entry in the server's list. vLLM says how many positions a model has, and codetune all that there is to say."""
    return ServedModel(
        name,
        base=str(entry.get("base") or entry.get("parent") or first),
        method=str(entry.get("method") or ("base" if name == first else "server")),
        prompt_style=str(entry.get("prompt_style") or "chat"),
        styles=tuple(entry.get("prompt_styles") or STYLES),
        max_positions=entry.get("max_model_len"),
        infills=bool(entry.get("infills", True)),  # others say so when they are asked
    )


def _plainer(body: Json) -> Json:
    """For servers that know less: one choice, few stop sequences, no count of tokens."""
    return {key: value for key, value in plain(body).items() if key != "stream_options"}
