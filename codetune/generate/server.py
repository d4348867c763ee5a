"""JSON over HTTP with an OpenAI-compatible server: tries again what may pass, and says in one line what will not.

May pass: time-outs, broken connections, and the answers 408, 429 and 5xx. The waits double, or are as long as Retry-After asks.
The key is in no message, no record and no exception.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import time
from collections.abc import Callable
from typing import Any

import httpx2

from codetune.errors import UserError
from codetune.records import Json

_TIMEOUT_S = 600.0  # an answer on a busy machine without a GPU takes minutes
_TRIES = 7
_LIVE_TRIES = 3  # where somebody waits for the answer
_FIRST_WAIT_S = 1.0  # 1, 2, 4 ... 32: over a minute in all, as limits are mostly per minute
_LONGEST_WAIT_S = 600.0  # a server that asks for more is not waited for
_SHOWN_CHARACTERS = 300  # of a server's message
_SHOWN_MODELS = 20


class RefusedError(Exception):
    """The server will not answer this request as it is. `too_long`: because it does not fit the model's context."""

    def __init__(self, message: str, too_long: bool, status: int = 400) -> None:
        super().__init__(message)
        self.too_long, self.status = too_long, status


class Server:
    """One server. `url` is its address without user and password, which count as a key; `key_name` is where the key comes from."""

    def __init__(
        self, base_url: str, key: str = "", key_name: str = "OPENAI_API_KEY", *,
        timeout_s: float = _TIMEOUT_S, live: bool = False, wait: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """`http(s)://host[:port][/path]`; without a path it is /v1. `live`: somebody waits for the answer, so few tries are made.

        Raises UserError for any other address, and for a key that is none.
        """
        given = _parsed(base_url)
        key = key.strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(f"the key in {key_name} cannot be sent: it holds more than printable ASCII; see how it was copied")
        self._wait, self._tries, self._key_name = wait, _LIVE_TRIES if live else _TRIES, key_name
        self._again = "ask again" if live else "run the same command again"
        self._kept = "" if live else "; with --out it goes on where it was"
        self._secrets = [secret for secret in (key, given.password or given.username) if secret]
        self.url = str(given.copy_with(username=None, password=None)).rstrip("/")
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            auth=(given.username, given.password) if given.username else None,
            timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        )

    def models(self) -> list[str]:
        """The names of its models, sorted; empty where it has no list. Raises UserError where no server answers."""
        return sorted(str(each["id"]) for each in self.listed())

    def listed(self) -> list[Json]:
        """Its models as it lists them, each with an `id`. Raises UserError where no server answers."""
        found = _json(self._send("GET", "/models", reconnect=False)).get("data")
        return [each for each in found if isinstance(each, dict) and "id" in each] if isinstance(found, list) else []

    def accepts(self, path: str, body: Json) -> bool:
        """Whether it answers such a request."""
        return self._send("POST", path, body).is_success

    def post(self, path: str, body: Json) -> Json:
        """The answer. Raises RefusedError for a fault of this request alone, UserError for what would befall every other one too."""
        response = self._send("POST", path, body)
        message = self._message(response)
        if response.status_code in (404, 405):
            raise UserError(f"{self.url}{path} answers {response.status_code} for model {body.get('model')!r}: {message}{self._choice()}")
        if response.is_client_error:
            raise RefusedError(f"{self.url}{path} answers {response.status_code}: {message}", _is_too_long(response, message))
        found = _json(response)
        if not response.is_success or not found:
            raise UserError(f"{self.url} is no OpenAI-compatible server: POST {path} answers {response.status_code}: {message}")
        return found

    def stream(self, path: str, body: Json) -> httpx2.Response:
        """An answer as soon as it begins, to be read and closed. Raises RefusedError, also for 404 and for 429, which is not waited for."""
        response = self._send("POST", path, body, streams=True)
        if not response.is_success:
            message = self._message(response)
            said = f"{self.url}{path} answers {response.status_code}: {message}"
            raise RefusedError(said, _is_too_long(response, message), response.status_code)
        return response

    def close(self) -> None:
        """Closes the connections that are kept."""
        self._client.close()

    def _send(
        self, method: str, path: str, body: Json | None = None, *, reconnect: bool = True, streams: bool = False
    ) -> httpx2.Response:
        """The answer to what was sent at last; of one that streams only its head, if it is no error.

        Raises UserError where every try failed, and for a refused key.
        """
        problem = ""
        for number in range(self._tries):
            wait_s: float | None = None
            try:
                response = self._client.send(self._client.build_request(method, self.url + path, json=body), stream=streams)
                if not response.is_success:
                    response.read()
            except httpx2.RequestError as error:
                problem = self.clean(str(error)) or type(error).__name__
                if not reconnect:
                    raise UserError(f"no server answers at {self.url} ({problem}): start it, or mend --base-url") from None
            else:
                if response.status_code in (401, 403):
                    raise UserError(self._key_refused(response))
                passes = response.status_code in (408, 429) and not (streams and response.status_code == 429)
                if not passes and not response.is_server_error:
                    return response
                problem = f"{response.status_code} {self._message(response)}"
                wait_s = _retry_after_s(response.headers.get("Retry-After", ""))
            if number < self._tries - 1:
                self._pause(_FIRST_WAIT_S * 2**number if wait_s is None else wait_s, problem)
        raise UserError(f"{self.url}{path} failed {self._tries} times ({problem}): see to the server, then {self._again}{self._kept}")

    def _pause(self, wait_s: float, problem: str) -> None:
        if wait_s > _LONGEST_WAIT_S:
            raise UserError(f"{self.url} asks to be left alone for {wait_s:.0f} s ({problem}): {self._again} then{self._kept}")
        self._wait(wait_s)

    def _key_refused(self, response: httpx2.Response) -> str:
        if self._secrets:
            return f"{self.url} refuses the key in {self._key_name} ({response.status_code}): {self._message(response)}"
        return f"{self.url} asks for a key ({response.status_code}): put it in {self._key_name}, or name a variable with --api-key-env"

    def _choice(self) -> str:
        there = self.models()
        if not there:
            return "; see to --model and --base-url (most end in /v1)"
        rest = f" and {len(there) - _SHOWN_MODELS} more" if len(there) > _SHOWN_MODELS else ""
        return f"; its models: {', '.join(there[:_SHOWN_MODELS])}{rest}; --endpoint chat or completions chooses the other way to ask"

    def _message(self, response: httpx2.Response) -> str:
        """What the server says was wrong: OpenAI's form, vLLM's, FastAPI's, or the text itself."""
        return self.clean(fault_in(_json(response)) or response.text or response.reason_phrase)

    def clean(self, text: str) -> str:
        """The start of a server's text in one line, without the credentials that it may repeat."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:_SHOWN_CHARACTERS]


def _parsed(base_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        shown = re.sub(r"//.*@", "//***@", base_url.partition("?")[0])
        raise UserError(f"--base-url {shown} is no server's address: give http(s)://host[:port][/path], as in http://localhost:8000/v1")
    return url if url.path.strip("/") else url.copy_with(path="/v1")


def _json(response: httpx2.Response) -> dict[str, Any]:
    """The JSON object that was answered; empty where it is none."""
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def fault_in(answer: Json) -> str:
    """The words of an error that was answered; empty where it has none."""
    error = answer.get("error", answer)
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return str(text or "")


def _is_too_long(response: httpx2.Response, message: str) -> bool:
    """OpenAI's code, llama.cpp's type, or the words of those that give neither (vLLM)."""
    error = _json(response).get("error")
    named = (error.get("code"), error.get("type")) if isinstance(error, dict) else ()
    said = any(words in message.lower() for words in ("context length", "context size", "context window"))
    return said or any(name in named for name in ("context_length_exceeded", "exceed_context_size_error"))


def _retry_after_s(value: str) -> float | None:
    """Seconds from a Retry-After header, a number or a date; None where it says nothing."""
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
