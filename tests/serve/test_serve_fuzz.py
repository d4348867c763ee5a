"""Some of the requests of `python -m bench serve-fuzz`: what the server answers is what its own schema says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from running_server import serving

from bench.serve_fuzz import fuzz
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask, Piece, Ticket
from codetune.serve.assistant import Assistant
from codetune.serve.history import FILE, History
from codetune.serve.workbench import Workbench


@contextmanager
def page_too(folder: Path) -> Iterator[str]:
    """A server with the page's routes, and a sandbox for their programs."""
    engine = FakeLiveEngine(lambda ask, index: "some <b>words</b>")
    with closing(History(folder / FILE)) as history, closing(Workbench(workers=1)) as bench:
        assistant = Assistant(engine, folder=folder, runs_root=folder, workbench=bench, history=history)
        with serving(assistant) as url:
            yield url


class BrokenEngine(FakeLiveEngine):
    """One that does not survive being asked."""

    def submit(self, ask: Ask, tell: Callable[[Piece], None]) -> Ticket:
        raise ZeroDivisionError


def test_requests_from_the_schema_are_answered_as_it_says(tmp_path: Path) -> None:
    with page_too(tmp_path) as url:
        outcome = fuzz(url, "fake", 80)
    assert not outcome.failures, outcome.failures
    assert outcome.statuses["right"][200] > 10
    assert set(outcome.statuses["wrong"]) <= {400, 404, 415}
    assert outcome.requests >= 50


def test_a_server_that_breaks_is_seen() -> None:
    with serving(Assistant(BrokenEngine(lambda ask, index: ""))) as url:
        outcome = fuzz(url, "fake", 20)
    assert outcome.statuses["right"][500]
    assert any("Server error" in title for title in outcome.failures), outcome.failures


@pytest.mark.slow
def test_ten_thousand_requests(tmp_path: Path) -> None:
    with page_too(tmp_path) as url:
        outcome = fuzz(url, "fake", 10_000)
    assert not outcome.failures, outcome.failures
