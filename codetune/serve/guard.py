"""Who may ask a server at all, how large a request may be and how long it may take: looked at before any route sees it.

A server on loopback is still reached by every web page that its user opens, so a browser's requests must come from our own page
(`Origin`), and by a name of ours (`Host`: a name that someone else makes point here is refused, which stops DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import secrets
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codetune.serve.errors import ProtocolError, invalid, time_limit
from codetune.serve.settings import LOOPBACK, ServeSettings

# Without a key: the page itself knows nothing, and an address of a study's report has a key of its own (a frame sends no header).
_OPEN = re.compile(r"/|/health|/favicon\.ico|/static/.*|/studies/[^/]+/key-[0-9a-f]{64}/.*")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^\s:/?#@\[\]]+)(:\d{1,5})?")
_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_GRACE_S = 5.0  # a route ends its answer in the protocol's form at the limit; this is for whatever does not


class Guard:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app, self._settings = app, settings
        self._hosts = {name.lower() for name in (*LOOPBACK, settings.host, *settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        send = _plainly(send)
        try:
            body = await self._let_in(Headers(scope=scope), scope["path"], receive)
        except ProtocolError as error:
            error.headers["Connection"] = "close"  # what is left of the body is not read
            await error.response()(scope, receive, send)
            return
        await self._in_time(scope, _replayed(body, receive), send)

    async def _let_in(self, headers: Headers, path: str, receive: Receive) -> bytes:
        """The body of a request that is not refused. Raises ProtocolError.

        A refused one's is read as well, as far as it may be: a connection that is closed with a body on its way is reset, and the answer
        is lost with it.
        """
        try:
            self._admit(headers, path)
        except ProtocolError:
            with contextlib.suppress(ProtocolError):
                await self._body(headers, receive)
            raise
        return await self._body(headers, receive)

    def _admit(self, headers: Headers, path: str) -> None:
        """Raises ProtocolError where host, origin or key are not right."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise ProtocolError(
                403, f"the server is not called {', '.join(hosts) or 'nothing'}: use localhost, or start it with that name allowed",
                "Host", "host_not_allowed",
            )  # fmt: skip
        for origin in headers.getlist("origin"):
            if not self._is_same(origin, hosts[0]):
                said = f"web pages of {origin} may not ask: start the server with it allowed"
                raise ProtocolError(403, said, "Origin", "origin_not_allowed")
        key = self._settings.api_key
        if key is not None and not _OPEN.fullmatch(path):
            _check_key(headers.get("authorization", ""), key)

    def _is_ours(self, host: str) -> bool:
        """An address in figures is fine whatever it is: only names can be made to point elsewhere."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].strip("[]").rstrip(".").lower()
        return name in self._hosts or _is_address(name)

    def _is_same(self, origin: str, host: str) -> bool:
        given = urlsplit(origin) if origin.startswith(("http://", "https://")) else None
        return origin in self._settings.allowed_origins or (given is not None and given.netloc.lower() == host.lower())

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """All of it, however it is sent. Raises ProtocolError where it is too large or comes too slowly."""
        most = self._settings.max_body_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > most:
            raise _too_large(most)
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ProtocolError(400, "the connection was closed before the body was there")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                    if not message.get("more_body", False):
                        body = b"".join(parts)
                        return _with_whole_characters(body) if "json" in headers.get("content-type", "").lower() else body
        except TimeoutError:
            raise ProtocolError(408, f"the body did not arrive within {self._settings.body_timeout_s:g} s", None, "timeout") from None

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._settings.timeout_s + _GRACE_S) as limit:
                await self._app(scope, receive, noted)
        except TimeoutError:
            if not limit.expired():
                raise
            if not started:  # else the server breaks the connection off, as the answer is not whole
                await time_limit(self._settings.timeout_s).response()(scope, receive, send)


def demand_json(request: Request) -> None:
    """A dependency of all routes: what is sent must be said to be JSON. Raises ProtocolError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in ("POST", "PUT", "PATCH") and kind != "application/json":
        said = f"the content type is {kind or 'missing'}: send application/json"
        raise ProtocolError(415, said, "Content-Type", "unsupported_media_type")


def _plainly(send: Send) -> Send:
    """Nothing that is sent is to be taken for another type than it is said to be."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("X-Content-Type-Options", "nosniff")
        await send(message)

    return sent


def _check_key(authorization: str, key: str) -> None:
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        said = "no API key was given: send it as Authorization: Bearer KEY"
    elif secrets.compare_digest(given.strip().encode("utf-8", "surrogateescape"), key.encode()):
        return
    else:
        said = "the API key is not the server's"
    raise ProtocolError(401, said, None, "invalid_api_key", {"WWW-Authenticate": "Bearer"})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _too_large(most: int) -> ProtocolError:
    return ProtocolError(413, f"the body has over {most:,} bytes: send less, or start the server with more allowed", None, "body_too_large")


def _with_whole_characters(body: bytes) -> bytes:
    """The body. Raises ProtocolError where it makes half a surrogate pair, which no tokenizer, file or database can take.

    Python's JSON reads UTF-16 as well, and lets such halves pass; the standard (RFC 8259) wants UTF-8.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as UTF-16 has it; in JSON it is an escape
        raise invalid("the body is not JSON in UTF-8: send it so", None, "invalid_json")
    if _HALF_PAIR.search(text):
        try:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            said = "the body has half a surrogate pair, which is no character: send whole characters"
            raise invalid(said, None, "invalid_json") from None
        except (ValueError, RecursionError):  # no JSON at all: said by who reads it
            return body
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, then whatever comes: that the client went away."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
