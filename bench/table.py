"""From measurements to the table: minima over repeats, whether losses agree, and ratios. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.job import Measurement, System

SAME_LOSS = 1e-3  # relative difference of the first step's mean loss
HEAD = ("method", "system", "text tokens per CPU s", "per wall s", "peak memory", "same training?", "codetune is faster by")


@dataclass(slots=True)
class Cell:
    """One system under one method: its repeats, or why it has none."""

    method: str
    system: System
    timed_tokens: int
    tokens: int  # of the whole job: what a system that trains on the same text counts
    repeats: list[Measurement] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)  # load average when each repeat began
    failure: str = ""

    @property
    def tokens_per_cpu_s(self) -> float:
        return self.timed_tokens / min(one.cpu_seconds for one in self.repeats)

    @property
    def tokens_per_wall_s(self) -> float:
        return self.timed_tokens / min(one.wall_seconds for one in self.repeats)

    @property
    def peak_memory_bytes(self) -> int:
        return min(one.peak_memory_bytes for one in self.repeats)


def relative(value: float, reference: float) -> float:
    """|value - reference| / |reference|.

    >>> relative(2.02, 2.0)
    0.010000000000000009
    """
    return abs(value - reference) / max(abs(reference), 1e-12)


def disagreement(cell: Cell, ours: Cell | None) -> str:
    """Why the two did not train the same, or "" if the first step's mean loss agrees and the same text was seen."""
    if cell.failure:
        return cell.failure
    if ours is None or not ours.repeats:
        return "no run of codetune in this precision to compare with"
    theirs, expected = cell.repeats[0], ours.repeats[0]
    if theirs.tokens_seen != cell.tokens:
        return f"it saw {theirs.tokens_seen} text tokens of {cell.tokens}"
    if relative(theirs.losses[0], expected.losses[0]) > SAME_LOSS:
        return f"first loss {theirs.losses[0]:.4f}, codetune's {expected.losses[0]:.4f}"
    return ""


def ratio(cell: Cell, ours: Cell | None) -> float | None:
    """codetune's text tokens per CPU second over this system's; None where they did not train the same."""
    return None if ours is None or disagreement(cell, ours) else ours.tokens_per_cpu_s / cell.tokens_per_cpu_s


def counterpart(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """codetune's cell of the same method and precision."""
    same = [c for c in cells if not c.system.peer and c.method == cell.method and c.system.precision == cell.system.precision]
    return next(iter(same), None)


def markdown(cells: Sequence[Cell]) -> str:
    """The table, one row per method and system. codetune is compared in the row's own precision."""
    rows = [HEAD, tuple("---" if i < 2 else "---:" for i in range(len(HEAD)))]
    rows += [_row(cell, counterpart(cell, cells)) for cell in cells]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(cell: Cell, ours: Cell | None) -> tuple[str, ...]:
    if cell.failure:
        return (cell.method, cell.system.name, "-", "-", "-", f"failed: {cell.failure}", "-")
    speeds = (f"{cell.tokens_per_cpu_s:,.0f}", f"{cell.tokens_per_wall_s:,.0f}", f"{cell.peak_memory_bytes / 1e9:.2f} GB")
    if not cell.system.peer:
        return (cell.method, cell.system.name, *speeds, f"first loss {cell.repeats[0].losses[0]:.4f}", "1")
    why = disagreement(cell, ours)
    faster = ratio(cell, ours)
    return (cell.method, cell.system.name, *speeds, f"no: {why}" if why else agreement(cell, ours), f"{faster:.2f}x" if faster else "-")


def agreement(cell: Cell, ours: Cell | None) -> str:
    """By how much the losses differ: at the first step, and at most over all steps."""
    assert ours is not None
    pairs = list(zip(cell.repeats[0].losses, ours.repeats[0].losses, strict=True))
    differences = [relative(theirs, expected) for theirs, expected in pairs]
    return f"yes: loss within {differences[0]:.0e} at first, {max(differences):.0e} later"
