"""The parts that a server is put together from; only the command line makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from codetune.generate.live import LiveEngine
from codetune.serve.settings import ServeSettings


class Workbench(Protocol):
    """Runs and tests programs in a sandbox."""

    @property
    def tier(self) -> str:
        """How well programs are walled off: see docs/sandbox.md."""


@dataclass(frozen=True, slots=True)
class Assistant:
    """Who answers, within which limits, and where what people say of the answers is kept.

    `folder` has the history and the feedback. Where there is no `workbench`, `workbench_missing` says why.
    """

    engine: LiveEngine
    settings: ServeSettings = field(default_factory=ServeSettings)
    folder: Path = Path("runs/assistant")
    runs_root: Path = Path("runs")
    workbench: Workbench | None = None
    workbench_missing: str = ""
