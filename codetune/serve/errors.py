"""Every error that a server answers with, in the OpenAI protocol's form: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from codetune.errors import UserError
from codetune.generate.live import BusyError, TooLongError, UnknownModelError
from codetune.serve.writing import FailedError, GoneError, TimeLimitError

_log = logging.getLogger(__name__)
_SHOWN_CHARACTERS = 500  # of a message; it may repeat what was sent
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_SAID = {404: "there is nothing at {path}", 405: "{method} is not done at {path}; allowed: {allowed}"}
_SAID_OF = {"extra_forbidden": "no such field is known here: leave it out", "missing": "is missing"}
_NO_RETRY = {"x-should-retry": "false"}  # the official client would ask three times else, each as long as the first


class UnknownIdError(UserError):
    """There is nothing of that id."""


class ProtocolError(Exception):
    """An answer that is an error. `param` names the field of the request that is at fault, `code` is for programs to read."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, dict(headers or {})

    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else _TYPES.get(self.status, "invalid_request_error")
        message = self.message if len(self.message) <= _SHOWN_CHARACTERS else self.message[:_SHOWN_CHARACTERS] + " ..."
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def text(self) -> str:
        """As JSON in ASCII: what was sent may hold half a surrogate pair, which UTF-8 cannot say."""
        return json.dumps(self.body())

    def response(self) -> Response:
        return Response(self.text(), self.status, self.headers, "application/json")


def invalid(message: str, param: str | None = None, code: str | None = None) -> ProtocolError:
    """The request is at fault."""
    return ProtocolError(400, message, param, code)


def time_limit(timeout_s: float) -> ProtocolError:
    """The answer took too long."""
    return ProtocolError(504, f"no whole answer within {timeout_s:g} s: ask for fewer tokens, or stream", None, "timeout", _NO_RETRY)


def writing_failed() -> ProtocolError:
    """The model failed at it; why is in the server's log."""
    return ProtocolError(500, "the model failed to write an answer; the server's log says why", None, "writing_failed", _NO_RETRY)


def internal() -> ProtocolError:
    """A mistake of ours; what happened is in the server's log."""
    return ProtocolError(500, "the server made a mistake; its log says which", None, "internal_error", _NO_RETRY)


def of_user(error: UserError, retry_after_s: int = 1, asked: str | None = None) -> ProtocolError:
    """What the engine refused, as the protocol says it; `asked` is the field that the question was in."""
    if isinstance(error, BusyError):
        return ProtocolError(429, str(error), None, "rate_limit_exceeded", {"Retry-After": str(retry_after_s)})
    if isinstance(error, TooLongError):
        return invalid(str(error), asked, "context_length_exceeded")
    if isinstance(error, UnknownModelError):
        return ProtocolError(404, str(error), "model", "model_not_found")
    if isinstance(error, UnknownIdError):
        return ProtocolError(404, str(error), None, "not_found")
    return invalid(str(error))


def as_protocol(error: Exception) -> ProtocolError:
    """What befell an answer that had begun; what clients are not told goes into the log."""
    if isinstance(error, ProtocolError):
        return error
    if isinstance(error, UserError):
        return of_user(error)
    if isinstance(error, TimeLimitError):
        return time_limit(error.timeout_s)
    if isinstance(error, FailedError):
        _log.error("writing failed: %s", error)
        return writing_failed()
    _log.error("a mistake of the server's", exc_info=error)
    return internal()


def of_validation(faults: Sequence[Any]) -> ProtocolError:
    """All faults of a request in one line; `param` is the first one's field."""
    named = [(_field(fault["loc"]), _SAID_OF.get(fault["type"], fault["msg"])) for fault in faults]
    if any(fault["type"] == "json_invalid" for fault in faults):
        return invalid(f"the body is no JSON: {faults[0].get('ctx', {}).get('error', 'it ends too early')}", None, "invalid_json")
    said = "; ".join(f"{name}: {message}" if name else message for name, message in named)
    return invalid(said, named[0][0] or None, None)


def _field(location: Sequence[int | str]) -> str:
    """As the official API writes it: messages[0].content."""
    name = ""
    for part in location[1:]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    return name


def answer_errors(app: FastAPI, retry_after_s: int = 1) -> None:
    """From now on every error of the app is answered in the protocol's form."""

    async def known(request: Request, error: Exception) -> Response:
        return as_protocol(error).response()

    async def user(request: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        return of_user(error, retry_after_s, "messages" if "chat" in request.url.path else "prompt").response()

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return of_validation(error.errors()).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        said = _SAID.get(error.status_code, "{detail}").format(
            path=request.url.path, method=request.method, allowed=headers.get("Allow", "nothing"), detail=error.detail
        )
        return ProtocolError(error.status_code, said, headers=headers).response()

    async def mistake(request: Request, error: Exception) -> Response:
        return internal().response()  # starlette raises it again, and uvicorn logs it

    for kind in (ProtocolError, TimeLimitError, FailedError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(GoneError, gone)
    app.add_exception_handler(UserError, user)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, mistake)
