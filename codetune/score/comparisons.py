"""Many comparisons at once: p-values corrected for their number, and groups of rows that cannot be told apart, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LEVEL = 0.05  # a pair is told apart where its corrected p-value is below


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) corrected p-values, in the order given: below .05 where the step-down procedure rejects at .05.

    The chance of even one false rejection among all is at most 5%, however the tests depend on each other.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, so_far = [0.0] * len(p_values), 0.0
    for step, index in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p_values) - step) * p_values[index]))
        corrected[index] = so_far
    return corrected


def groups(names: Sequence[str], apart: Mapping[frozenset[str], bool]) -> list[tuple[str, ...]]:
    """The largest sets of names of which no two are told apart, as a compact letter display has them; names keep their order.

    Every name is in at least one set; two names share a set exactly where they are not told apart, so sets may overlap: A and B, and B
    and C, may be alike while A and C are not. A pair missing from `apart` is not told apart. Sets are ordered by their first names.

    >>> groups("ABC", {frozenset("AC"): True})
    [('A', 'B'), ('B', 'C')]
    """
    alike = {name: {other for other in names if other != name and not apart.get(frozenset((name, other)), False)} for name in names}
    found: list[set[str]] = []
    _largest(set(), set(names), set(), alike, found)
    place = {name: number for number, name in enumerate(names)}
    ordered = [tuple(sorted(members, key=place.__getitem__)) for members in found]
    return sorted(ordered, key=lambda members: [place[name] for name in members])


def letters(names: Sequence[str], sets: Sequence[Sequence[str]]) -> dict[str, str]:
    """Each name's letters: those of the sets it is in. Two names without a common letter are told apart.

    >>> letters("ABC", [("A", "B"), ("B", "C")])
    {'A': 'a', 'B': 'ab', 'C': 'b'}
    """
    return {name: "".join(_letter(number) for number, members in enumerate(sets) if name in members) for name in names}


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def _largest(chosen: set[str], open_: set[str], closed: set[str], alike: Mapping[str, set[str]], found: list[set[str]]) -> None:
    """Bron and Kerbosch (1973), with a pivot: every set of mutually alike names that no further name fits into."""
    if not open_ and not closed:
        if chosen:
            found.append(chosen)
        return
    pivot = max(sorted(open_ | closed), key=lambda name: len(alike[name] & open_))
    for name in sorted(open_ - alike[pivot]):
        _largest(chosen | {name}, open_ & alike[name], closed & alike[name], alike, found)
        open_, closed = open_ - {name}, closed | {name}
