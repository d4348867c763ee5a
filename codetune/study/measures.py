"""What a cell measures beyond its scores and its training's summary: the record, and what follows from records alone.

docs/measures.md says of every measure what it is, in which unit, and how it is come by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from codetune.records import Json, Verdict

QUALITY = 0.01  # time to quality is that to a validation loss so close to the run's best
CODEBLEU_PARTS = ("ngram", "weighted_ngram", "syntax", "dataflow")
_TIMED = ("_s", "_j", "cost")  # how names end of what is another number each time it is measured
_OF_THE_MACHINE = ("memory_", "latency_", "merged_latency_", "matrix_")


@dataclass(frozen=True, slots=True)
class CellMeasures:
    """Everything here is None, or empty, where it was not measured; docs/measures.md has a line for each."""

    held_out_loss: float | None = None  # nats per supervised token
    held_out_bits_per_byte: float | None = None
    held_out_examples: int | None = None
    forgetting: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # benchmark -> loss, bits_per_byte, score, problems
    rephrased: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # benchmark:what -> score, original, changed, problems
    memory_forecast_bytes: Mapping[str, int] = field(default_factory=dict)  # by what it is for
    memory_peak_bytes: Mapping[str, int] = field(default_factory=dict)  # training, generation
    operations_per_token: float | None = None
    matrix_operations_per_s: float | None = None
    matrix_rate_share: float | None = None
    time_to_quality_s: float | None = None
    time_to_quality_tokens: int | None = None
    training_energy_j: float | None = None
    generation_energy_j: float | None = None
    energy_source: str = ""
    latency_first_token_s: float | None = None
    latency_first_token_p90_s: float | None = None
    latency_s_per_token: float | None = None
    latency_s_per_token_p90: float | None = None
    merged_latency_first_token_s: float | None = None
    merged_latency_first_token_p90_s: float | None = None
    merged_latency_s_per_token: float | None = None
    merged_latency_s_per_token_p90: float | None = None
    latency_prompts: int | None = None
    latency_tokens: int | None = None
    evaluation_s: float | None = None
    cost: float | None = None  # in `currency`; of records at hand, so that a price can be given later
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over the seeds of a row."""

    mean: float
    low: float
    high: float

    def less(self, other: float) -> Spread:
        return Spread(self.mean - other, self.low - other, self.high - other)


@dataclass(frozen=True, slots=True)
class Reached:
    """When a run's validation loss first was good enough. Seconds are of training alone, as the curve has them."""

    loss: float
    step: int
    tokens: int
    seconds: float | None


def first_at(curve: Sequence[Json], loss: float) -> Reached | None:
    """The first point of a training curve whose validation loss is at or below `loss`; None where none is.

    >>> first_at([{"step": 1, "tokens": 9, "val_loss": 2.0}, {"step": 2, "tokens": 18, "val_loss": 1.0, "seconds": 4.0}], 1.5)
    Reached(loss=1.0, step=2, tokens=18, seconds=4.0)
    """
    points = (row for row in curve if row.get("val_loss") is not None)
    found = next((row for row in points if row["val_loss"] <= loss), None)
    return None if found is None else Reached(found["val_loss"], found["step"], found["tokens"], found.get("seconds"))


def time_to_quality(curve: Sequence[Json], within: float = QUALITY) -> Reached | None:
    """The first point whose validation loss is within so much of the run's best; None without validation."""
    losses = [row["val_loss"] for row in curve if row.get("val_loss") is not None]
    return first_at(curve, min(losses) * (1 + within)) if losses else None


def money(seconds: float, price_per_hour: float) -> float:
    """
    >>> money(5400, 2.0)
    3.0
    """
    return seconds / 3600 * price_per_hour


def read_measures(result: Json, price_per_hour: float | None, currency: str) -> CellMeasures:
    """The measures of a cell's result, with what it cost: its training and the answering and scoring of the study's benchmarks."""
    names = {each.name for each in dataclasses.fields(CellMeasures)}
    found = CellMeasures(**{key: value for key, value in (result.get("measures") or {}).items() if key in names})
    spent = [(result.get("train") or {}).get("seconds"), found.evaluation_s]
    if price_per_hour is None or found.evaluation_s is None:
        return found
    return dataclasses.replace(found, cost=money(sum(each or 0.0 for each in spent), price_per_hour), currency=currency)


def numbers(measures: CellMeasures) -> dict[str, float]:
    """All numbers of a cell by name, those of a benchmark as `forgetting:basics-known:loss`."""
    found: dict[str, float] = {}
    for each in dataclasses.fields(measures):
        value = getattr(measures, each.name)
        if isinstance(value, Mapping):
            found |= {f"{each.name}:{name}": number for name, number in _flat(value)}
        elif isinstance(value, int | float):
            found[each.name] = value
    energy = [each for each in (measures.training_energy_j, measures.generation_energy_j) if each is not None]
    return found | ({"energy_j": sum(energy)} if energy else {})


def with_parts(benchmark: Json) -> Json:
    """`metrics` and `signatures` of a benchmark's part of a result, with what that has elsewhere: CodeBLEU's parts, shares of programs.

    `pass_rate` is the share of all judged samples that passed; `pass@1` is the mean over problems of each one's share. They are equal
    where every problem has as many samples.
    """
    metrics, signatures = dict(benchmark.get("metrics") or {}), dict(benchmark.get("signatures") or {})
    for name, parts in (benchmark.get("codebleu_parts") or {}).items():
        own = {f"{name}_{part}": parts.get(part) for part in CODEBLEU_PARTS}
        metrics |= {part: value for part, value in own.items() if value is not None}  # the references of one may define no data flow
        signatures |= {part: f"{signatures.get(name, name)}|part:{part.removeprefix(name + '_')}" for part in own if part in metrics}
    judged = {verdict: count for verdict, count in (benchmark.get("verdicts") or {}).items() if verdict != Verdict.INFRASTRUCTURE}
    if judged and benchmark.get("pass_at_k"):
        metrics["pass_rate"] = judged.get(Verdict.PASSED, 0) / sum(judged.values())
        signatures["pass_rate"] = "samples that passed / samples that were judged, over all problems together"
    for name in ("loads", "doctests"):
        if (share := (benchmark.get("loads") or {}).get(name)) is not None:
            metrics[name] = share
            signatures[name] = f"mean over problems of the share of samples|ceiling:{benchmark['loads'].get(name + '_ceiling')}"
    return {"metrics": metrics, "signatures": signatures}


def spreads(cells: Iterable[CellMeasures]) -> dict[str, Spread]:
    """Each measure over the cells that have it, in the order in which they first appear."""
    rows = [numbers(cell) for cell in cells]
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if name in row]
        found[name] = Spread(sum(values) / len(values), min(values), max(values))
    return found


def changes(measures: Mapping[str, Spread], base: Mapping[str, Spread]) -> dict[str, Spread]:
    """What tuning did to what the base model could do: of each number of `forgetting`, this row's less the base's mean.

    A loss that grew, or a score that fell, was forgotten.
    """
    kept = (name for name in measures if name.startswith("forgetting:") and name in base and not name.endswith(":problems"))
    return {f"{name}_change": measures[name].less(base[name].mean) for name in kept}


def of_the_machine(name: str) -> bool:
    """Whether a measure is of the machine and the moment (times, energy, money, memory), and another number when it is measured again."""
    return name.endswith(_TIMED) or name.startswith(_OF_THE_MACHINE)


def _flat(values: Mapping[str, object]) -> Iterable[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}:{inner}", number) for inner, number in _flat(value))
        elif isinstance(value, int | float):
            yield name, value
