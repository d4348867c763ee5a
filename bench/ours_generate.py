"""codetune's answers for bench/generation.py, in a process of their own: all adapters in one batch, or one adapter after the other.

    python -m bench.ours_generate job.json
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from codetune.config import DecodingConfig
from codetune.generate.engine import OwnEngine, VoicesEngine
from codetune.generate.request import Engine, Generated, Request
from codetune.models.open import open_model
from codetune.models.several import open_voices


def main(path: Path) -> dict[str, Any]:
    """The texts by adapter, their tokens, and CPU and wall seconds; models are open and warm before the clock starts."""
    job: dict[str, Any] = json.loads(path.read_text())
    torch.set_num_threads(job["threads"])
    adapters = {name: Path(folder) for name, folder in job["adapters"].items()}
    decoding = DecodingConfig(max_new_tokens=job["max_new_tokens"], batch_size=job["batch_size"])
    asked = {name: [Request(f"{name}/{at}", text) for at, text in enumerate(job["prompts"])] for name in adapters}
    parts: list[tuple[Engine, list[Request]]]
    if job["together"]:
        mixed = {name: [Request(one.task_id, one.prompt, voice=name) for one in requests] for name, requests in asked.items()}
        parts = [(VoicesEngine(open_voices(job["model"], adapters)), [one for requests in mixed.values() for one in requests])]
    else:
        parts = [(OwnEngine(*open_model(job["model"], folder)), asked[name]) for name, folder in adapters.items()]
    for engine, requests in parts:
        engine.generate(requests[:: max(1, len(requests) // 4)], DecodingConfig(max_new_tokens=2, batch_size=4))
    made: list[Generated] = []
    begun, started = time.process_time(), time.perf_counter()
    for engine, requests in parts:
        made += engine.generate(requests, decoding)
    found: dict[str, Any] = {"cpu_seconds": time.process_time() - begun, "seconds": time.perf_counter() - started}
    texts: dict[str, list[str]] = {name: [] for name in adapters}
    for one in made:
        texts[one.task_id.partition("/")[0]].append(one.text)
    return found | {"tokens": sum(one.num_tokens for one in made), "texts": texts}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the answer alone goes to stdout
        result = main(Path(sys.argv[1]))
    print(json.dumps(result))
