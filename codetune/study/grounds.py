"""What a recommendation stands on, as records: forecasts of methods, findings of one's own studies, published figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Fit:
    """One method on one machine, forecast. `settings` are keys of `train` that it needs to fit; `problem` says why it cannot be at all.

    Bytes are those with the settings, or of the recipe as it stands where nothing makes it fit; seconds are None where no rate is known.
    """

    method: str
    fits: bool
    peak_bytes: int | None = None
    seconds: float | None = None
    trained: int | None = None  # parameters
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    measured: bool = False  # of a study that has been run, in place of a forecast


@dataclass(frozen=True, slots=True)
class Rival:
    """A method's best row in a finding. `score` is in 0..1; `invalid` says why its numbers are struck out."""

    row: str
    method: str
    score: float
    seeds: int
    learning_rate: float | None = None
    searched: bool = False  # with what a search found
    settings: Mapping[str, Any] = field(default_factory=dict)  # of its method section
    train: Mapping[str, Any] = field(default_factory=dict)  # of its train section
    invalid: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One model on one data set in one of the user's own studies. `apart` holds (better, worse) rows that are told apart, corrected for
    many comparisons.
    """

    study: str
    model: str
    data: str
    benchmark: str
    metric: str
    rivals: tuple[Rival, ...]
    apart: frozenset[tuple[str, str]]
    closeness: int = 0  # index into `CLOSENESS`
    base: str = "base"  # the untuned model's row; "" where there is none

    @property
    def decides(self) -> bool:
        """Whether any valid method can be told apart from the untuned model, or there is none to compare with."""
        return not self.base or any((one.row, self.base) in self.apart for one in self.rivals if not one.invalid)


CLOSENESS = (
    "the same model on the same data", "the same model on data of the same size", "the same model on other data",
    "a model of the same family and size on the same data", "a model of the same family and size on other data",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One figure of others, in the unit it was printed in. `invalid` says which of our gates it does not pass, or "" where it does."""

    model: str
    method: str
    data: str
    metric: str
    value: float
    source: str
    same_model: bool = True  # else only the size class is the same
    invalid: str = ""


@dataclass(frozen=True, slots=True)
class Knob:
    """A value of the recipe, as `method.learning_rate`, and where it comes from."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `train` is what the forecasts were made with; `parameters` are the model's, `hours` a limit on training time; `unknown`
    is what was looked for and not found."""

    model: str
    data: str
    machine: str
    memory_bytes: int
    fits: tuple[Fit, ...]
    findings: tuple[Finding, ...] = ()
    published: tuple[PublishedScore, ...] = ()
    parameters: int | None = None
    hours: float | None = None
    train: tuple[Knob, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, and from where one knows."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A method that could be taken, with what it would cost."""

    method: str
    peak_bytes: int | None
    seconds: float | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RuledOut:
    """What is not taken, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to start from. `method` is "" where nothing fits; `by` names the rule that decided; the best of `alternatives` comes first."""

    model: str
    data: str
    machine: str
    method: str
    by: str
    reasons: tuple[Reason, ...]
    knobs: tuple[Knob, ...] = ()
    alternatives: tuple[Choice, ...] = ()
    ruled_out: tuple[RuledOut, ...] = ()
    unknown: tuple[str, ...] = ()
    peak_bytes: int | None = None
    seconds: float | None = None
