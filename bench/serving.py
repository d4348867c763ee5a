"""Sixteen clients of `codetune serve` against transformers' `generate` one by one: same model, same prompts, same greedy answers.

    python -m bench serving
    python -m bench serving --model codetune-base --clients 16 --requests 64 --out results.json

Both write the same answers in turns, the server behind real HTTP in a process of its own. Seconds are wall clock; the best repeat counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx2
import numpy as np

from bench import environment
from bench.environment import say
from codetune.data import basics
from codetune.errors import UserError
from codetune.records import Json

WHAT = "answers per second: 16 clients of codetune serve against transformers' generate one by one"
HOW_LONG = "About two minutes."
_START_S = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="codetune-base", help="a model by name or folder")
    parser.add_argument("--adapter", type=Path, help="a PEFT adapter: both sides answer with it")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file for all that was measured")


def run(options: argparse.Namespace) -> None:
    prompts = [problem.instruction for problem in basics.load("validation")[: options.requests]]
    if len(prompts) < options.requests:
        raise UserError(f"--requests {options.requests}: there are {len(prompts)} prompts; ask for no more")
    found: Json = {"environment": environment.machine(), "ours": [], "peer": []}
    with serving(options) as (address, model):
        ask_all(address, model, prompts[:4], options)  # warm
        for repeat in range(options.repeats):
            found["peer"].append(one_by_one(options, prompts))
            found["ours"].append(ask_all(address, model, prompts, options))
            say(f"run {repeat + 1} of {options.repeats}: {_line(found['peer'][-1])} one by one, {_line(found['ours'][-1])} served")
    found |= compare(found["ours"], found["peer"])
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    print(
        f"{options.clients} clients of codetune serve: {found['ours_tokens_per_s']:,.0f} tokens/s; transformers generate one by one: "
        f"{found['peer_tokens_per_s']:,.0f} tokens/s; {found['ratio']:.2f} times. Same text in {found['same']} of {len(prompts)} answers. "
        f"First token with {options.clients} clients: median {found['first_token_s']:.3f} s, 90% within {found['first_token_p90_s']:.3f} s."
    )


def compare(ours: list[Json], peer: list[Json]) -> Json:
    """Tokens a second of each side's best repeat, and their ratio."""
    best = {side: max(each["tokens"] / each["seconds"] for each in runs) for side, runs in (("ours", ours), ("peer", peer))}
    firsts = [wait for each in ours for wait in each["first_token_s"]]
    return {
        "ours_tokens_per_s": best["ours"], "peer_tokens_per_s": best["peer"], "ratio": best["ours"] / best["peer"],
        "same": sum(a == b for a, b in zip(ours[0]["texts"], peer[0]["texts"], strict=True)),
        "first_token_s": float(np.percentile(firsts, 50)), "first_token_p90_s": float(np.percentile(firsts, 90)),
    }  # fmt: skip


@contextlib.contextmanager
def serving(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """`codetune serve` in a process of its own: its address, and the model to ask for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    adapter = ["--adapter", f"tuned={options.adapter}"] if options.adapter else []
    command = [sys.executable, "-m", "codetune.cli", "serve", "--model", options.model, "--port", str(port), *adapter]
    process = subprocess.Popen([*command, "--batch-size", str(options.clients)], stderr=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(10 * _START_S):
            with contextlib.suppress(httpx2.RequestError):
                if httpx2.get(f"{address}/health").is_success:
                    break
            if process.poll() is not None:
                raise UserError(f"the server did not start: {(process.stderr or sys.stdin).read().strip()}")
            time.sleep(0.1)
        yield address, "tuned" if options.adapter else options.model
    finally:
        process.terminate()
        process.wait(30)


def ask_all(address: str, model: str, prompts: list[str], options: argparse.Namespace) -> Json:
    """All prompts, each client taking the next one when it has its answer."""
    waiting: SimpleQueue[tuple[int, str]] = SimpleQueue()
    for each in enumerate(prompts):
        waiting.put(each)
    texts, tokens, firsts = [""] * len(prompts), [0] * len(prompts), [0.0] * len(prompts)

    def client() -> None:
        with httpx2.Client(timeout=600) as http:
            while True:
                try:
                    number, prompt = waiting.get_nowait()
                except Empty:
                    return
                body = {
                    "model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "stream": True,
                    "max_tokens": options.max_new_tokens, "stream_options": {"include_usage": True},
                }  # fmt: skip
                started = time.perf_counter()
                with http.stream("POST", f"{address}/v1/chat/completions", json=body) as answer:
                    for chunk in _chunks(answer):
                        piece = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
                        firsts[number] = firsts[number] or bool(piece) * (time.perf_counter() - started)
                        texts[number] += piece
                        tokens[number] = (chunk.get("usage") or {}).get("completion_tokens", 0)

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"seconds": time.perf_counter() - started, "tokens": sum(tokens), "texts": texts, "first_token_s": [s for s in firsts if s]}


def _chunks(answer: Any) -> Iterator[Json]:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def one_by_one(options: argparse.Namespace, prompts: list[str]) -> Json:
    """The peer, in a process of its own with the same cores."""
    job = {"model": options.model, "adapter": str(options.adapter or ""), "prompts": prompts, "max_new_tokens": options.max_new_tokens}
    done = subprocess.run(
        [sys.executable, "-m", "bench.peer_one_by_one"], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"transformers' generate failed: {done.stderr.strip().splitlines()[-1]}")
    found: Json = json.loads(done.stdout.splitlines()[-1])
    return found


def _line(measured: Json) -> str:
    return f"{measured['tokens'] / measured['seconds']:,.0f} tokens/s"
