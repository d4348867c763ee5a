"""A run: a method attached to a model, what it learns from, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.config import TrainConfig
from codetune.data.pack import Row
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.train.plan import Step
from codetune.train.resume import Progress

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from and is validated on, packed."""

    examples: TokenisedExamples
    rows: Sequence[Row]
    steps: Sequence[Step]
    validation: TokenisedExamples | None = None
    validation_rows: Sequence[Row] = ()


@dataclass(slots=True)
class Run:
    """A method attached to a model, its material, and how to train it. `report` is told after every step."""

    adapted: Adapted
    family: Family
    material: Material
    config: TrainConfig
    learning_rate: float
    folder: Path
    report: Callable[[Progress, int], None] = lambda progress, steps: None
