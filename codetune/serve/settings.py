"""What a server is told: where it listens, who may ask, and how much one request may cost."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from codetune.errors import UserError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Limits and manners of a server. Raises UserError for an address that others can reach without a key, and for a key that is none."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()  # names by which it may be called, besides localhost, `host` and addresses in figures
    allowed_origins: tuple[str, ...] = ()  # other web pages that may ask, as in https://editor.example
    max_new_tokens: int = 1024  # of one answer; who asks for more gets so many, and "length" as what ended it
    default_new_tokens: int = 256  # where a request says nothing
    max_answers: int = 16  # of one request: its prompts times `n`
    max_body_bytes: int = 2_000_000
    timeout_s: float = 600.0  # of one request, from its last byte to its answer's
    body_timeout_s: float = 30.0  # for a request's body to arrive
    retry_after_s: int = 1  # what a refused client is told where the queue is full
    rounds: int = 4  # of mending, at the most

    def __post_init__(self) -> None:
        key = self.api_key
        if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
            raise UserError("the API key cannot be sent in a header: give one or more printable ASCII characters without spaces")
        if key is None and not is_loopback(self.host):
            raise UserError(f"host {self.host!r} can be reached by others, so an API key is needed: give one, or listen on 127.0.0.1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
