"""The difference of two rows of a study, and the correction of all differences that are looked at together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from codetune.score.comparisons import LEVEL, holm
from codetune.study.intervals import PairedGap


@dataclass(frozen=True, slots=True)
class Difference:
    """`row` minus `other` on one benchmark, paired by problem; in 0..1.

    `p_corrected` is Holm's, over the `family`: every pair of valid rows of one model x data on one benchmark, comparisons with the base
    among them. The interval is the pair's own, not corrected.
    """

    row: str
    other: str
    benchmark: str
    mean: float
    gap: PairedGap | None  # None where the records permit no interval
    p_corrected: float | None = None  # None where there is no test, or a row is not valid
    family: int = 0

    @property
    def low(self) -> float | None:
        return self.gap.low if self.gap else None

    @property
    def high(self) -> float | None:
        return self.gap.high if self.gap else None

    @property
    def distinct(self) -> bool:
        """Whether the two are told apart, after correction for the number of comparisons."""
        return self.p_corrected is not None and self.p_corrected < LEVEL

    def turned(self) -> Difference:
        """`other` minus `row`."""
        return replace(self, row=self.other, other=self.row, mean=-self.mean, gap=self.gap and self.gap.turned())


def corrected(pairs: Iterable[Difference | None]) -> Mapping[tuple[str, str], Difference]:
    """The differences that there are, by (row, other), as one family: their p-values by Holm's rule."""
    found = [pair for pair in pairs if pair is not None]
    tested = {index: pair.gap.p_value for index, pair in enumerate(found) if pair.gap is not None}
    p_values = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {(pair.row, pair.other): replace(pair, p_corrected=p_values.get(index), family=len(tested)) for index, pair in enumerate(found)}
