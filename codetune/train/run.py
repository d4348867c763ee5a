"""A run: a method attached to a model, what it learns from, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codetune.config import TrainConfig
from codetune.data.pack import Row
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.runs import RowLog
from codetune.train.plan import Step
from codetune.train.resume import Checkpoints, Progress

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from and is validated on, packed. `name_documents` says which documents examples are of, when it must be known."""

    examples: TokenisedExamples
    rows: Sequence[Row]
    steps: Sequence[Step]
    validation: TokenisedExamples | None = None
    validation_rows: Sequence[Row] = ()
    name_documents: Callable[[Sequence[int]], list[str]] = lambda examples: []


@dataclass(slots=True)
class Run:
    """A method attached to a model, its material, and how to train it.

    `report` is told after every step, `warn` what a user should know besides: a damaged checkpoint, a full disk, a bad step.
    """

    adapted: Adapted
    family: Family
    material: Material
    config: TrainConfig
    learning_rate: float
    folder: Path
    report: Callable[[Progress, int], None] = lambda progress, steps: None
    warn: Callable[[str], None] = lambda message: None
    metrics: RowLog = field(init=False)
    checkpoints: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = RowLog(self.folder / METRICS)
        self.checkpoints = Checkpoints(self.folder, self.config.checkpoints_kept, lambda message: self.warn(message), self.metrics.flush)
