"""What went in, what was left out and why, what came out: counted for each source, with examples, and added up over parts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codetune.records import Json

EXAMPLES = 3  # shown of each rule
BAD_ROWS = 10  # shown with their line
_SNIPPET_CHARS = 160
BAD_ROW = "bad row"
UNKNOWN = "unknown"


@dataclass(slots=True)
class Account:
    """Of one source. `left_out` counts by reason: a rule of the filters, duplicates, overlap, bad rows, and what the source skips.

    `lengths` is a `histogram` of words.
    """

    rows: int = 0
    documents: int = 0  # that came out
    words: int = 0  # of these
    left_out: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Json]] = field(default_factory=dict)
    masked: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    lengths: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)  # documents, by benchmark; left out or not

    def leave_out(self, reason: str, where: str, detail: str = "", text: str = "") -> None:
        self.left_out[reason] += 1
        self.show(reason, where, detail, text)

    def show(self, reason: str, where: str, detail: str = "", text: str = "") -> None:
        """Keep an example, if there are not enough yet."""
        shown = self.examples.setdefault(reason, [])
        if len(shown) < (BAD_ROWS if reason == BAD_ROW else EXAMPLES):
            shown.append({"where": where, "detail": detail, "text": text[:_SNIPPET_CHARS]})

    def keep(self, words: NDArray[np.int32], licences: Iterable[str]) -> None:
        """Count documents that come out; `words` is the length of each."""
        self.documents += len(words)
        self.words += int(words.sum())
        self.licences.update(licence or UNKNOWN for licence in licences)
        self.lengths.update(histogram(words))

    def add(self, other: Account) -> None:
        """Count another part's account in, which comes after this one."""
        for name in ("rows", "documents", "words"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for reason, shown in other.examples.items():
            for one in shown:
                self.show(reason, **one)

    def to_json(self) -> Json:
        """Sorted by count, so that equal accounts are equal texts."""
        plain: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in _COUNTERS:
            plain[name] = dict(sorted(plain[name].items(), key=lambda item: (-item[1], item[0])))
        plain["examples"] = {reason: plain["examples"][reason] for reason in sorted(plain["examples"])}
        return plain

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Account:
        plain: dict[str, Any] = {name: Counter(value) if name in _COUNTERS else value for name, value in row.items()}
        return cls(**plain)


def histogram(lengths: NDArray[np.integer[Any]]) -> dict[str, int]:
    """How many lengths are in each bin; bin b holds those from 2^(b-1) up to 2^b - 1, bin 0 zeros."""
    bins, counts = np.unique(np.ceil(np.log2(lengths.astype(np.int64) + 1)).astype(int), return_counts=True)
    return dict(zip(map(str, bins.tolist()), counts.tolist(), strict=True))


_COUNTERS = ("left_out", "masked", "licences", "lengths", "overlaps")
