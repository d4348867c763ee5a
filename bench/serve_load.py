"""Many clients at once for a bounded time: is every request answered or refused in the protocol's way, and does the server's memory stay?

    python -m bench serve-load [--clients 200] [--seconds 60] [--queue 16] [--out results.json]
    python -m bench serve-load --url http://127.0.0.1:8000 --model codetune-base --pid $(pgrep -f 'codetune serve')

Each client asks again and again, in its own way by turns: a chat or a completion, whole or streamed, one that goes away in the middle of a
stream, one that reads slowly, one that sends a wrong field, one that asks /health. A client that is refused with 429 waits as it is told.
What counts: 200 with a whole answer (a stream with [DONE]), 429 with Retry-After and 400 for the wrong field, each error in the protocol's
form; everything else, a broken connection among it, is a failure. Memory is the server process's resident set, at its own end of the
machine, every second: `grown` compares the end with the moment after the warm-up. It ends with exit code 1 where anything failed, where
the memory has grown by over a tenth, or where the server does not fall silent (asks that are still running) afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from bench import served
from bench.environment import load_average, say
from codetune.errors import UserError

WHAT = "The server under 200 clients at once: every request answered or refused in the protocol's way, memory flat."
HOW_LONG = "A minute and a half."
WAYS = ("chat", "completion", "chat stream", "completion stream", "goes away", "reads slowly", "wrong field", "health")
GROWN = 1.1  # memory may grow by so much after the warm-up
_TIMEOUT_S = 120.0
_TOKENS = 24
_ERROR = {"message", "type", "param", "code"}


@dataclass(slots=True)
class Load:
    """What became of all requests. `outcomes` counts statuses by way of asking; memory in MB, each second."""

    clients: int
    seconds: float
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {way: Counter() for way in WAYS})
    failures: Counter[str] = field(default_factory=Counter)
    first_s: list[float] = field(default_factory=list)  # until the first piece of a stream
    memory_mb: list[float] = field(default_factory=list)
    still_running: int | None = None

    @property
    def requests(self) -> int:
        return sum(sum(counted.values()) for counted in self.outcomes.values())

    def grown(self, warm_up_s: float) -> float | None:
        """Memory at the end over memory after the warm-up: medians of five seconds each."""
        after = self.memory_mb[int(warm_up_s) :]
        return statistics.median(after[-5:]) / statistics.median(after[:5]) if len(after) >= 10 else None

    def row(self) -> dict[str, Any]:
        """For JSON; `asdict` cannot copy a Counter."""
        outcomes = {way: dict(counted) for way, counted in self.outcomes.items()}
        return {
            "clients": self.clients, "seconds": self.seconds, "requests": self.requests, "outcomes": outcomes,
            "failures": dict(self.failures), "first_s": self.first_s, "memory_mb": self.memory_mb, "still_running": self.still_running,
        }  # fmt: skip


class _WrongError(Exception):
    """An answer that is not the protocol's."""


async def load(running: served.Served, clients: int, seconds: float, seed: int = 0) -> Load:
    """So many clients for so long; then the server is asked whether anything is left running."""
    found = Load(clients, seconds)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(base_url=running.url, timeout=_TIMEOUT_S, limits=limits) as client:
        watch = asyncio.create_task(_watch_memory(running.process, found.memory_mb))
        end = time.monotonic() + seconds
        await asyncio.gather(*(_ask_on(client, running.model, end, random.Random(f"{seed} {each}"), found) for each in range(clients)))
        watch.cancel()
        for _ in range(100):
            found.still_running = (await client.get("/health")).json()["running"]
            if not found.still_running:
                break
            await asyncio.sleep(0.1)
    return found


async def _ask_on(client: httpx2.AsyncClient, model: str, end: float, dice: random.Random, found: Load) -> None:
    while time.monotonic() < end:
        way = dice.choice(WAYS)
        try:
            status, wait_s = await _ask(client, model, way, dice, found)
            found.outcomes[way][status] += 1
            await asyncio.sleep(min(wait_s, max(0.0, end - time.monotonic())))
        except (httpx2.HTTPError, _WrongError, ValueError, KeyError) as error:
            found.outcomes[way]["failed"] += 1
            found.failures[f"{way}: {type(error).__name__}: {error}"[:200]] += 1
            await asyncio.sleep(0.1)


async def _ask(client: httpx2.AsyncClient, model: str, way: str, dice: random.Random, found: Load) -> tuple[str, float]:
    """One request: what it came to, and how long to wait for the next."""
    if way == "health":
        return str(_success(await client.get("/health"), "status")), 0.05
    chat = "completion" not in way
    body: dict[str, Any] = {"model": model, "max_tokens": _TOKENS, "seed": dice.randrange(1000), "temperature": 0.8}
    body |= {"messages": [{"role": "user", "content": "reverse a string <b>"}]} if chat else {"prompt": "def reverse(text):"}
    path = "/v1/chat/completions" if chat else "/v1/completions"
    if way == "wrong field":
        response = await client.post(path, json=body | {"temperature": "hot"})
        return _refusal(response, (400,)), 0.05
    if way in ("chat", "completion"):
        response = await client.post(path, json=body)
        if response.status_code == 200:
            _success(response, "choices")
            return "200", 0.0
        return _refusal(response, (429,)), float(response.headers["retry-after"])
    return await _stream(client, path, body | {"stream": True}, way, found)


async def _stream(client: httpx2.AsyncClient, path: str, body: dict[str, Any], way: str, found: Load) -> tuple[str, float]:
    start, last = time.monotonic(), ""
    async with client.stream("POST", path, json=body) as response:
        if response.status_code != 200:
            await response.aread()
            return _refusal(response, (429,)), float(response.headers["retry-after"])
        async for line in response.aiter_lines():
            if not last:
                found.first_s.append(time.monotonic() - start)
            if line.startswith("data: "):
                last = line
                if way == "goes away":
                    return "200, left", 0.0
                if '"error"' in line:
                    raise _WrongError(line)
            if way == "reads slowly":
                await asyncio.sleep(0.05)
    if last != "data: [DONE]":
        raise _WrongError(f"the stream ended with {last[:80]!r}")
    return "200", 0.0


def _success(response: httpx2.Response, needed: str) -> int:
    if response.status_code != 200 or not response.json()[needed]:
        raise _WrongError(f"{response.status_code} {response.text[:100]}")
    return response.status_code


def _refusal(response: httpx2.Response, allowed: tuple[int, ...]) -> str:
    if response.status_code not in allowed or set(response.json()["error"]) != _ERROR:
        raise _WrongError(f"{response.status_code} {response.text[:100]}")
    return str(response.status_code)


async def _watch_memory(process: psutil.Process | None, memory_mb: list[float]) -> None:
    while process is not None:
        memory_mb.append(process.memory_info().rss / 2**20)
        await asyncio.sleep(1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    served.add_arguments(parser)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=15.0, help="seconds after which memory must not grow")
    parser.add_argument("--queue", type=int, default=16, help="of the fake engine: so many asks at once, the next is refused")
    parser.add_argument("--out", type=Path, help="a JSON file for the counts")


def run(options: argparse.Namespace) -> None:
    """Load, print what was answered, and fail where anything was not right."""
    if options.seconds < options.warm_up + 10 and (options.pid or not options.url):
        raise UserError(f"--seconds {options.seconds:g} is under 10 s more than --warm-up {options.warm_up:g}: give more, or a shorter one")
    with served.server(options, options.queue, words=20, pause_s=0.01) as running:
        say(f"{options.clients} clients for {options.seconds:g} s at {running.url}")
        found = asyncio.run(load(running, options.clients, options.seconds))
        alive = running.process is None or running.process.is_running()
    grown = found.grown(options.warm_up)
    _print(found, grown)
    if options.out:
        options.out.write_text(json.dumps(found.row() | {"grown": grown, "load": load_average()}, indent=1))
    if found.failures or found.still_running or not alive or (grown is not None and grown > GROWN):
        sys.exit(1)


def _print(found: Load, grown: float | None) -> None:
    print(f"{found.requests:,} requests of {found.clients} clients in {found.seconds:g} s")
    for way, counted in found.outcomes.items():
        print(f"{way:18}", ", ".join(f"{status}: {count:,}" for status, count in sorted(counted.items())))
    if found.first_s:
        print(f"first piece of a stream: median {statistics.median(found.first_s):.2f} s, longest {max(found.first_s):.2f} s")
    if grown is not None:
        start, most, end = found.memory_mb[0], max(found.memory_mb), found.memory_mb[-1]
        print(f"memory: {start:.0f} MB at the start, {most:.0f} at most, {end:.0f} at the end; x {grown:.3f} after the warm-up")
    print(f"left running afterwards: {found.still_running}")
    for failure, count in found.failures.most_common(10):
        print(f"{count} x {failure}")
    print(f"{sum(found.failures.values())} failures")
