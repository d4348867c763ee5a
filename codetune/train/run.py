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
from codetune.records import Json
from codetune.runs import RowLog
from codetune.train.plan import Step
from codetune.train.resume import Checkpoints, Progress
from codetune.train.trackers import Trackers

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from and is validated on, packed. `name_documents` says which documents examples are of, when it must be known."""

    examples: TokenisedExamples
    rows: Sequence[Row]
    steps: Sequence[Step]
    validation: TokenisedExamples | None = None
    validation_rows: Sequence[Row] = ()
    name_documents: Callable[[Sequence[int]], list[str]] = lambda examples: []


@dataclass(frozen=True, slots=True)
class Reading:
    """What answers of the model in training came to. Shares are fractions in 0..1; `rows` are a few answers for a person to read."""

    pass_rate: float
    eos_share: float
    syntax_valid: float
    mean_tokens: float
    rows: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Sampler:
    """Reads the model in training `times` times, at evenly spaced steps. `read` finds it in eval mode and may draw random numbers."""

    times: int
    read: Callable[[Adapted], Reading]


@dataclass(slots=True)
class Run:
    """A method attached to a model, its material, and how to train it.

    `report` is told after every step, `trackers` every row, `warn` what a user should know besides: a damaged checkpoint, a full disk, a
    bad step.
    """

    adapted: Adapted
    family: Family
    material: Material
    config: TrainConfig
    learning_rate: float
    folder: Path
    report: Callable[[Progress, int], None] = lambda progress, steps: None
    warn: Callable[[str], None] = lambda message: None
    sampler: Sampler | None = None
    trackers: Trackers = field(default_factory=Trackers)
    metrics: RowLog = field(init=False)
    samples: RowLog = field(init=False)
    checkpoints: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        self.metrics, self.samples = RowLog(self.folder / METRICS), RowLog(self.folder / SAMPLES)
        self.checkpoints = Checkpoints(self.folder, self.config.checkpoints_kept, lambda message: self.warn(message), self.flush)

    def flush(self) -> None:
        """Have every row on disk, as a checkpoint needs them. Raises OSError where it takes no more."""
        for rows in (self.metrics, self.samples):
            rows.flush()
