"""What a search's ladder of learning rates says: a best rate at its edge may have a better one beyond it."""

from __future__ import annotations

from codetune.records import Json
from codetune.study.cell_evidence import CellEvidence, Diagnosis

FEWEST_RATES = 3  # that came to their end: of two, each is an edge


def ladder_edge(evidence: CellEvidence, lowest: bool) -> Diagnosis | None:
    """Where the best trial has the lowest (or else the highest) of the rates that were tried to their end: possible, no more.

    A trial that was cut short had no prospect, and one that failed diverged: both bound the ladder above as finished ones do.
    """
    losses: dict[float, list[float]] = {}
    for trial in evidence.search.get("trials") or ():
        if (rate := _rate(trial)) is not None:
            losses.setdefault(rate, []).extend([] if trial.get("val_loss") is None else [trial["val_loss"]])
    rates, best = sorted(losses), _rate(evidence.search.get("best") or {})
    if len(rates) < FEWEST_RATES or best != rates[0 if lowest else -1]:
        return None
    beside = rates[1 if lowest else -2]
    against = f" (loss {min(losses[best]):.3f}; at {beside:g} {min(losses[beside]):.3f})" if losses[best] and losses[beside] else ""
    said = f"the best rate of the search is the {'lowest' if lowest else 'highest'} of {len(rates)} tried, {best:g}{against}"
    factor = "smaller" if lowest else "larger"
    remedy = f"give search.learning_rates {factor} factors, or search.trials a larger number, until the best has a neighbour on both sides"
    return Diagnosis("learning_rate_too_high" if lowest else "learning_rate_too_low", "possible", said, remedy)


def _rate(trial: Json) -> float | None:
    found: float | None = (trial.get("settings") or {}).get("learning_rate")
    return found
