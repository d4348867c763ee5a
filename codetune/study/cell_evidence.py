"""What a cell's folder holds that the cause of a bad result could show in, and the record of such a cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from codetune.records import Json
from codetune.study.gates import Gate

Grade = Literal["certain", "likely", "possible"]
SMOOTHED_SHARE = 0.1  # of the steps of a run, over which a loss is averaged before it is compared
FEWEST_STEPS = 3  # that are averaged

CAUSES: dict[str, str] = {
    "overlap": "the test is in the training data",
    "eos": "EOS is not learned",
    "initialisation": "bad initialisation",
    "learning_rate_too_high": "learning rate too high",
    "learning_rate_too_low": "learning rate too low",
    "precision": "updates lost to the precision",
    "no_gradient": "some of what trains has no gradient",
    "frozen_moved": "frozen weights moved",
    "reload": "what answers is not what was trained",
    "merge": "merging changes the model",
    "padding": "padding, or the batch, changes the answers",
    "length_limit": "answers may not be long enough",
    "runaway_length": "answers do not end",
    "codebleu_artefact": "CodeBLEU of useless answers",
}  # in the order in which one brings about another: the first that is found explains most


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause. `certain`: it was measured itself; `likely`: its traces were; `possible`: its traces were, and they allow for others."""

    cause: str  # a key of CAUSES
    grade: Grade
    evidence: str  # the figures, in one sentence
    remedy: str  # what to change, in the recipe where it can be

    @classmethod
    def read(cls, row: Json) -> Diagnosis:
        return cls(*(row[part.name] for part in dataclasses.fields(cls)))

    @property
    def title(self) -> str:
        return CAUSES.get(self.cause, self.cause.replace("_", " "))


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """`train` is what `train.json` has, `curve` the rows of `metrics.jsonl`; `benchmarks` and `measured` are parts of `result.json`."""

    gates: Sequence[Gate] = ()
    train: Json = field(default_factory=dict)
    curve: Sequence[Json] = ()
    benchmarks: Json = field(default_factory=dict)
    measured: Json = field(default_factory=dict)

    @property
    def checks(self) -> Json:
        return self.train.get("checks") or {}

    def number(self, check: str) -> float | None:
        """What training measured of itself; None where it did not."""
        value = self.checks.get(check)
        return float(value) if isinstance(value, int | float) else None

    def failed(self, kind: str) -> list[Gate]:
        """The gates of a kind that did not hold."""
        return [gate for gate in self.gates if gate.kind == kind and gate.level != "ok"]

    @property
    def probe(self) -> tuple[float, float, float] | None:
        """The loss of a few training examples: of the base model, with the method put on it, and after training."""
        losses = self.checks.get("probe_loss") or ()
        return tuple(losses) if len(losses) == 3 else None

    @property
    def held_out(self) -> tuple[float, float] | None:
        """The validation loss of the base model, and after training."""
        losses = (self.train.get("held_out") or {}).get("loss") or ()
        return tuple(losses) if len(losses) == 2 else None

    @property
    def losses(self) -> list[float]:
        """The training losses, smoothed: means of equal stretches of the run, in order; empty for a run of few steps."""
        found = [float(row["loss"]) for row in self.curve if row.get("loss") is not None]
        width = max(FEWEST_STEPS, round(SMOOTHED_SHARE * len(found)))
        stretches = len(found) // width
        return [sum(found[at * width : (at + 1) * width]) / width for at in range(stretches)] if stretches > 1 else []

    @property
    def gradient_norms(self) -> list[float]:
        return [float(row["grad_norm"]) for row in self.curve if row.get("grad_norm") is not None]

    @property
    def search(self) -> Json:
        return self.train.get("search") or {}

    def quality(self, benchmark: str) -> Json:
        """The measurements that the gates on a benchmark's completions stand on; see `QualityMeasurements`."""
        found: Any = (self.measured.get("quality") or {}).get(benchmark)
        return found or {}
