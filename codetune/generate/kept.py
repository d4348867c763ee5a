"""An engine whose finished continuations are kept in a file, so that a killed run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codetune.config import DecodingConfig
from codetune.errors import UserError
from codetune.generate.request import Engine, Generated, Report, Request
from codetune.runs import append_row, read_rows, write_rows


class KeptEngine:
    """Wraps an engine. What it reports is a line of `path` at once; the first line holds the settings that all of them were made with.

    The file is for the caller to remove, once the results are safe elsewhere. Raises UserError where it was made with other settings.
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

    def room(self, request: Request) -> int | None:
        return self.engine.room(request)

    def generate(self, requests: Sequence[Request], decoding: DecodingConfig, report: Report | None = None) -> list[Generated]:
        """All continuations in order; only those that are not in the file yet are made."""
        missing = [each for each in requests if any((each.task_id, index) not in self.found for index in range(each.n))]
        if report:
            asked = {each.task_id for each in missing}
            report(self._of([each for each in requests if each.task_id not in asked]))
        if not self.path.exists():
            write_rows(self.path, [{"settings": self.settings}])
        last = time.perf_counter()

        def keep(made: Sequence[Generated]) -> None:
            nonlocal last
            seconds, last = time.perf_counter() - last, time.perf_counter()
            append_row(self.path, {"seconds": seconds, "batch": [dataclasses.asdict(one) for one in made]})
            self.seconds += seconds
            self.found |= {(one.task_id, one.index): one for one in made}
            if report:
                report(made)

        if missing:
            self.engine.generate(missing, decoding, keep)
        return self._of(requests)

    def _of(self, requests: Sequence[Request]) -> list[Generated]:
        return [self.found[each.task_id, index] for each in requests for index in range(each.n)]

    def _require_same(self, before: dict[str, Any]) -> None:
        differing = sorted(key for key in before.keys() | self.settings.keys() if before.get(key) != self.settings.get(key))
        if differing:
            changed = ", ".join(f"{key} was {before.get(key)!r}, now {self.settings.get(key)!r}" for key in differing)
            raise UserError(f"{self.path} keeps answers made with other settings ({changed}): choose another --out, or remove the file")
