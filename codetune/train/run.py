"""A run: a method attached to a model, what it learns from, and how."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from codetune.batches import Batch
from codetune.config import TrainConfig
from codetune.data.pack import Row
from codetune.data.tokenise import TokenisedExamples
from codetune.errors import UserError
from codetune.methods import Adapted
from codetune.models.energy import EnergyMeter, open_meter
from codetune.models.families import Family
from codetune.models.forward import as_run, summed_loss
from codetune.records import Json
from codetune.runs import RowLog
from codetune.train.group_checkpoints import LeadersCheckpoints, ShardedCheckpoints
from codetune.train.parallel import ALONE, Group
from codetune.train.plan import Step
from codetune.train.resume import Checkpoints, Progress
from codetune.train.sharded import Shards, refuse_what_cannot_be_sharded
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
    bad step. `group` are the processes that train together, of which the first reports, warns and writes; `shards` what this one holds
    of a model that is sharded over them.
    """

    adapted: Adapted
    family: Family
    material: Material
    config: TrainConfig
    learning_rate: float
    folder: Path
    report: Callable[[Progress, int], None] = lambda progress, steps: None
    warn: Callable[[str], None] = lambda message: None
    group: Group = ALONE
    sampler: Sampler | None = None
    trackers: Trackers = field(default_factory=Trackers)
    meter: EnergyMeter = field(default_factory=open_meter)
    shards: Shards | None = field(init=False, default=None)
    metrics: RowLog = field(init=False)
    samples: RowLog = field(init=False)
    checkpoints: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        if not self.group.leads:
            self.report, self.warn = lambda progress, steps: None, lambda message: None
        places = [self.folder / name if self.group.leads else Path(os.devnull) for name in (METRICS, SAMPLES)]
        self.metrics, self.samples = (RowLog(place) for place in places)
        self.checkpoints = Checkpoints(self.folder, self.config.checkpoints_kept, lambda message: self.warn(message), self.flush)

    def flush(self) -> None:
        """Have every row on disk, as a checkpoint needs them. Raises OSError where it takes no more."""
        for rows in (self.metrics, self.samples):
            rows.flush()

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What this process's optimiser steps: the trained parameters, or its shards of them."""
        return self.adapted.trained() if self.shards is None else self.shards.trained

    def summed_loss(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the batch's targets, as of `models.forward.summed_loss`; the batch comes from the CPU."""
        there = as_run(self.adapted, self.family, batch).to(self.adapted.model.device)
        return summed_loss(self.adapted, self.family, there) if self.shards is None else self.shards.summed_loss(there)

    def spread(self) -> None:
        """Start all processes from the same weights, sharded over them where the recipe says so. Raises UserError for what cannot be."""
        if self.config.parallel == "fsdp":
            refuse_what_cannot_be_sharded(self.adapted, self.config.optimizer)
            if self.sampler is not None and self.group.size > 1:
                raise UserError("no answers can be sampled from a sharded model: leave `samples` out, or use train.parallel=ddp")
        self.group.same_start(self.adapted.trained().values())
        settings = self.folder, self.config.checkpoints_kept, self.warn, self.flush
        if self.config.parallel == "fsdp":
            self.shards = Shards(self.adapted, self.family, self.group) if self.group.size > 1 else None
            self.checkpoints = ShardedCheckpoints(*settings, self.group, {} if self.shards is None else self.shards.parameters)
        elif self.group.size > 1:
            self.checkpoints = LeadersCheckpoints(*settings, self.group)

    def whole(self) -> Adapted:
        """The tuned model in one piece: in the first process, where it was sharded."""
        if self.shards is None:
            return self.adapted
        whole = self.shards.whole()
        if self.group.leads:
            whole.root.to(self.adapted.model.device)
        return whole
