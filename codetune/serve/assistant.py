"""The parts that a server is put together from; only the command line makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from codetune.generate.live import LiveEngine
from codetune.serve.history import History
from codetune.serve.settings import ServeSettings
from codetune.serve.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Assistant:
    """Who answers, within which limits, and where what people say of the answers is kept.

    `folder` has the history and the feedback. Without a `history` there are no routes for the web page. Where there is no `workbench`,
    `workbench_missing` says why. Closing all three is up to who made them.
    """

    engine: LiveEngine
    settings: ServeSettings = field(default_factory=ServeSettings)
    folder: Path = Path("runs/assistant")
    runs_root: Path = Path("runs")
    workbench: Workbench | None = None
    workbench_missing: str = ""
    history: History | None = None
