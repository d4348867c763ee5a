"""Scores as rows of a table: name, value, and what goes with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from codetune.score.readability import UNITS

Row = tuple[str, str, str]


def score_rows(found: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each score in `Scores.summary()`, with its interval where it has one."""
    for k, share in found["pass_at_k"].items():
        low, high = found["pass_at_k_ci95"][k]
        yield f"pass@{k}", f"[bold]{100 * share:.1f}%[/bold]", f"[dim]95% interval {100 * low:.1f} to {100 * high:.1f}[/dim]"
    yield from _load_rows(found["loads"])
    for name, value in found["metrics"].items():
        yield name, f"{100 * value:.1f}", ""
    for name, value in found["readability"].items():
        yield name, f"{value:.1f}", f"[dim]{UNITS[name]}[/dim]"


def _load_rows(loads: Mapping[str, Any]) -> Iterator[Row]:
    """Name, share and what goes with it, for a table: of `loads`, and of doctests where there are some; nothing where `loads` is empty."""
    if not loads:
        return
    low, high = loads["loads_ci95"]
    yield _load_row(loads, "loads", f"95% interval {100 * low:.1f} to {100 * high:.1f}")
    if loads["doctest_problems"]:
        yield _load_row(loads, "doctests", f"of {loads['doctest_problems']} problems")


def _load_row(loads: Mapping[str, Any], name: str, note: str) -> Row:
    return name, f"{100 * loads[name]:.1f}%", f"[dim]{note}; references {100 * loads[f'{name}_ceiling']:.1f}%[/dim]"
