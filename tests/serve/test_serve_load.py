"""The clients of `python -m bench serve-load` against a good server, and against one that is not."""

from __future__ import annotations

import asyncio
import json

from running_server import serving

from bench.serve_load import load
from bench.served import Served
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import FAILED, Ask, Piece
from codetune.serve.assistant import Assistant


def test_a_crowd_is_answered_or_refused_and_nothing_is_left_running() -> None:
    engine = FakeLiveEngine(lambda ask, index: "word " * 10, pause_s=0.002, most=4)
    with serving(Assistant(engine)) as url:
        found = asyncio.run(load(Served(url, "fake", None), 30, 2))
    assert not found.failures
    assert found.still_running == 0
    statuses = {status for counted in found.outcomes.values() for status in counted}
    assert statuses <= {"200", "429", "400", "200, left"}
    assert "429" in statuses
    assert json.loads(json.dumps(found.row()))["requests"] == found.requests > 30


def test_a_server_that_breaks_off_is_seen() -> None:
    class Broken(FakeLiveEngine):
        def submit(self, ask: Ask, tell):  # type: ignore[no-untyped-def]
            return super().submit(ask, lambda piece: tell(Piece(piece.index, "broken", FAILED)))

    with serving(Assistant(Broken(lambda ask, index: "word"))) as url:
        found = asyncio.run(load(Served(url, "fake", None), 8, 1))
    assert found.failures
