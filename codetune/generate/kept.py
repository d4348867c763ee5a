"""An engine whose finished continuations are kept in a file, so that a killed run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.request import Engine, Generated, Request
from codetune.runs import append_row, read_rows, write_rows


class KeptEngine:
    """Wraps an engine. Each finished batch is one line of `path`; the first line holds the settings that all of them were made with.

    Batches are cut the same way whether a run is killed or not, so that what was resumed equals what was not. The file is for the
    caller to remove, once the results are safe elsewhere. Raises UserError where it was made with other settings.
    """

    def __init__(self, engine: Engine, path: Path, settings: dict[str, Any]) -> None:
        self.name, self.engine, self.path = engine.name, engine, path
        self.seconds = 0.0  # spent on all continuations, those of killed runs too
        self.settings = json.loads(json.dumps(settings))
        self.found: dict[tuple[str, int], Generated] = {}
        rows = read_rows(path)
        if rows:
            self._require_same(rows[0].get("settings", {}))
            write_rows(path, rows)  # without a line that a kill cut short, which the next one would run into
        for row in rows[1:]:
            self.seconds += row["seconds"]
            self.found |= {(one["task_id"], one["index"]): Generated(**one) for one in row["batch"]}

    def generate(
        self, requests: Sequence[Request], decoding: DecodingConfig, report: Callable[[int, int], None] | None = None
    ) -> list[Generated]:
        """All continuations in order; only those that are not in the file yet are made."""
        total = sum(request.n for request in requests)
        done = sum(_key(request, index) in self.found for request in requests for index in range(request.n))
        if not self.path.exists():
            write_rows(self.path, [{"settings": self.settings}])
        for batch in _batches(requests, decoding.batch_size):
            missing = [request for request in batch if any(_key(request, index) not in self.found for index in range(request.n))]
            if not missing:
                continue
            started = time.perf_counter()
            made = self.engine.generate(batch, decoding)
            seconds = time.perf_counter() - started
            append_row(self.path, {"seconds": seconds, "batch": [dataclasses.asdict(one) for one in made]})
            self.seconds += seconds
            self.found |= {(one.task_id, one.index): one for one in made}
            done += sum(request.n for request in missing)
            if report:
                report(done, total)
        return [self.found[_key(request, index)] for request in requests for index in range(request.n)]

    def _require_same(self, before: dict[str, Any]) -> None:
        differing = sorted(key for key in before.keys() | self.settings.keys() if before.get(key) != self.settings.get(key))
        if differing:
            changed = ", ".join(f"{key} was {before.get(key)!r}, now {self.settings.get(key)!r}" for key in differing)
            raise UserError(f"{self.path} keeps answers made with other settings ({changed}): choose another --out, or remove the file")


def _key(request: Request, index: int) -> tuple[str, int]:
    return request.task_id, index


def _batches(requests: Sequence[Request], batch_size: int) -> Iterator[list[Request]]:
    """Longest prompts first, as many requests at once as their samples fit in one batch, at least one."""
    batch: list[Request] = []
    for request in sorted(requests, key=lambda one: -len(one.prompt)):
        if batch and sum(one.n for one in batch) + request.n > batch_size:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch
