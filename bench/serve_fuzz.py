"""Requests that schemathesis makes from the server's own OpenAPI schema, right ones and wrong ones: is every answer what the schema says?

    python -m bench serve-fuzz [--requests 10000] [--url http://127.0.0.1:8000 --model NAME] [--out results.json]

Seven in ten go to the two routes of the protocol that write, the rest to all others, those of the page among them. Half of the requests
keep to the schema (most of them name a model that is there, so that they are answered), half break it in one place. After each,
schemathesis checks: no 5xx, only statuses, content types, headers and bodies that the schema names, and that what breaks the schema is
refused. About a tenth as many more are right requests with some bytes damaged, which must be answered in the protocol's form and without
a 5xx. It ends with exit code 1 where anything failed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import served
from bench.environment import say

WHAT = "The server against 10,000 requests made from its own schema: no 5xx, nothing that the schema does not say."
HOW_LONG = "About five minutes."
SHARES = {"/health": 0.01, "/v1/models": 0.01, "/v1/models/{model}": 0.06, "/v1/chat/completions": 0.31, "/v1/completions": 0.31}
PAGE_SHARE = 0.3  # of all requests, where the page's routes are served, alike for each of them
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "allow_header_conformance",
)  # fmt: skip
_DAMAGE = (b"", b'"', b"\\", b"\xff", b"\x00", b"{", b"[" * 50, b"9" * 50, b"NaN", b"\\ud800")
_SHOWN = 10
_TOKENS = 40  # a real model shall not write for minutes
_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Outcome:
    """What was answered: how often each status, by kind of request, and what failed, each kind once, with the request."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: {kind: Counter() for kind in ("right", "wrong", "damaged")})
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(sum(counted.values()) for counted in self.statuses.values())


def fuzz(url: str, model: str, requests: int, seed: int = 0) -> Outcome:
    """So many requests from the schema at `url`, and a tenth as many damaged ones. A seed gives the same requests again."""
    import schemathesis

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    outcome = Outcome()
    routes = [(path, method) for path, item in schema.raw_schema["paths"].items() for method in item]
    page_routes = sum(path not in SHARES for path, _ in routes)
    for path, method in routes:
        share = PAGE_SHARE / page_routes if path not in SHARES else SHARES[path] / (1 if page_routes else 1 - PAGE_SHARE)
        kinds = ("right", "wrong") if method in ("post", "patch") else ("right",)  # without a body nothing can be wrong
        for kind in kinds:
            _ask(schema[path][method.upper()], kind, max(1, round(requests * share / len(kinds))), model, seed, outcome)
    return outcome


def _ask(operation: Any, kind: str, count: int, model: str, seed: int, outcome: Outcome) -> None:
    """Requests of one operation."""
    import hypothesis
    import requests
    import schemathesis.checks
    from schemathesis.core.failures import FailureGroup
    from schemathesis.generation import GenerationMode

    mode = GenerationMode.NEGATIVE if kind == "wrong" else GenerationMode.POSITIVE
    checks = schemathesis.checks.CHECKS.get_by_names(list(CHECKS))
    dice, session = random.Random(f"{seed} {operation.label} {kind}"), requests.Session()
    sent = 0

    def one(case: Any) -> None:
        nonlocal sent
        sent += 1
        if outcome.requests % 1000 == 999:
            say(f"{outcome.requests + 1:,} requests")
        if kind == "right":
            _make_answerable(case, model, dice)
        try:
            response = case.call(session=session, timeout=_TIMEOUT_S)
            outcome.statuses[kind][response.status_code] += 1
            case.validate_response(response, checks)
        except FailureGroup as group:
            for failure in group.exceptions:
                outcome.failures.setdefault(f"{operation.label}: {failure.title}", f"{failure}\n{case.as_curl_command()}")
        if kind == "right" and isinstance(case.body, dict) and "{" not in operation.path and dice.random() < 0.2:
            _damage(session, operation.base_url.rstrip("/") + operation.path, case.body, dice, outcome)

    settings = hypothesis.settings(
        database=None, deadline=None, phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck)
    )
    for turn in range(count):  # hypothesis ends early where it has seen all that there is
        if sent >= count:
            break
        strategy = operation.as_strategy(generation_mode=mode)
        hypothesis.seed(seed + turn)(hypothesis.settings(settings, max_examples=count - sent)(hypothesis.given(strategy)(one)))()


def _make_answerable(case: Any, model: str, dice: random.Random) -> None:
    """Most right requests name a model that is there and are right in what the schema cannot say."""
    if case.path.startswith("/api/"):
        _make_answerable_by_the_page(case, model, dice)
    elif isinstance(case.body, dict) and dice.random() < 0.9:
        case.body["model"] = model
        case.body.pop("prompt_style", None)
        turns = case.body.get("messages")
        if turns and isinstance(turns, list) and isinstance(turns[-1], dict):
            turns[-1]["role"] = "user"
        if "stream_options" in case.body:
            case.body["stream"] = True
        if "prompt" in case.body:
            case.body["prompt"] = _shortened(case.body["prompt"])
        if case.body.get("n"):
            case.body["n"] = min(case.body["n"], 4)
        case.body["max_tokens"] = min(case.body.get("max_tokens") or _TOKENS, _TOKENS)
        case.body.pop("max_completion_tokens", None)
    elif isinstance(case.path_parameters, dict) and "model" in case.path_parameters and dice.random() < 0.3:
        case.path_parameters["model"] = model


def _make_answerable_by_the_page(case: Any, model: str, dice: random.Random) -> None:
    """Ids cannot be guessed: what needs one is mostly answered that there is none."""
    body = case.body if isinstance(case.body, dict) and dice.random() < 0.9 else {}
    if "models" in body:
        body |= {"models": [model] * min(2, len(body["models"])), "content": body["content"] + "?"}
        body |= {"blind": len(body["models"]) == 2, "conversation_id": None}
    if "model" in body:
        body["model"] = model
    if "tests" in body and dice.random() < 0.7:
        body["tests"] = "assert True"
    if "models" in body or "model" in body:
        body |= {"prompt_style": None, "decoding": {"max_new_tokens": _TOKENS}}


def _shortened(prompt: Any) -> Any:
    """A prompt that is not empty, or four of several at the most: more answers than that are refused."""
    if isinstance(prompt, str):
        return prompt or "x"
    return [each or "x" if isinstance(each, str) else each for each in prompt[:4]]


def _damage(session: Any, url: str, body: dict[str, Any], dice: random.Random, outcome: Outcome) -> None:
    """Some bytes of a right request changed, lost or doubled."""
    raw = bytearray(json.dumps(body), "ascii")
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(raw))
        raw[place : place + dice.randint(0, 2)] = dice.choice(_DAMAGE)
    response = session.post(url, data=bytes(raw), headers={"Content-Type": "application/json"})
    outcome.statuses["damaged"][response.status_code] += 1
    found = response.json() if "json" in response.headers["content-type"] else {}
    if response.status_code >= 500 or (response.status_code >= 400 and set(found.get("error", {})) != {"message", "type", "param", "code"}):
        outcome.failures.setdefault(f"damaged: {response.status_code}", f"{bytes(raw)!r}\n{response.text[:300]}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    served.add_arguments(parser)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for the counts")


def run(options: argparse.Namespace) -> None:
    """Ask, print what was answered, and fail where anything failed."""
    start = time.monotonic()
    with served.server(options, queue=16, words=20, pause_s=0.0) as running:
        say(f"{options.requests:,} requests to {running.url}")
        outcome = fuzz(running.url, running.model, options.requests, options.seed)
    print(f"{outcome.requests:,} requests in {time.monotonic() - start:.0f} s")
    for kind, counted in outcome.statuses.items():
        print(f"{kind:8}", ", ".join(f"{status}: {count:,}" for status, count in sorted(counted.items())))
    for title, shown in list(outcome.failures.items())[:_SHOWN]:
        print(f"\n{title}\n{shown[:2000]}")
    print(f"{len(outcome.failures)} kinds of failure")
    if options.out:
        options.out.write_text(json.dumps({"statuses": outcome.statuses, "failures": outcome.failures}, indent=1))
    if outcome.failures:
        sys.exit(1)
