"""Whether two CodeBLEUs are the same, pair by pair, and why not where they are not. Pure functions."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

SAME = 1e-12
Row = Sequence[float]  # total, n-grams, weighted n-grams, syntax, data flow; what is undefined is 0

EQUAL = "equal"
ZERO_FLOW = "parts equal; codebleu counts a data flow of 0 as 1"
HASHED = "codebleu's value depends on PYTHONHASHSEED; codetune's is one of its values"
HASHED_OTHER = "codebleu's value depends on PYTHONHASHSEED; codetune's is another one"
GRAMMAR = "equal on codebleu's grammar, which parses the pair differently"
UNEXPLAINED = "unexplained"
REASONS = (EQUAL, ZERO_FLOW, HASHED, HASHED_OTHER, GRAMMAR, UNEXPLAINED)


def make_pairs(snippets: Sequence[str], count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(completion, reference): each reference once with its neighbour in the file and once with a damaged copy of itself."""
    rng, references = random.Random(seed), snippets[: count // 2]
    neighbours = list(zip(snippets[1:], references, strict=False))
    return neighbours + [(damage(rng, snippet), snippet) for snippet in references]


def damage(rng: random.Random, code: str) -> str:
    """The code with one word or sign lost, doubled or replaced by another of its own."""
    words = re.findall(r"\w+|\s+|[^\w\s]", code)
    place = rng.randrange(len(words))
    words[place] = rng.choice(("", 2 * words[place], rng.choice(words)))
    return "".join(words)


def reason(ours: Row, peer_by_seed: Sequence[Row], ours_on_peer_grammar: Row) -> str:
    """Which of `REASONS` a pair belongs to.

    >>> reason([0.25, 1, 0, 0, 0], [[0.5, 1, 0, 0, 0]], [0.25, 1, 0, 0, 0])
    'parts equal; codebleu counts a data flow of 0 as 1'
    """
    peer = peer_by_seed[0]
    if any(not same(other, peer) for other in peer_by_seed):
        return HASHED if any(same(ours, row) or same(ours, without_flow_of_one(row)) for row in peer_by_seed) else HASHED_OTHER
    if same(ours, peer):
        return EQUAL
    if same(ours, without_flow_of_one(peer)):
        return ZERO_FLOW
    if same(ours_on_peer_grammar, peer) or same(ours_on_peer_grammar, without_flow_of_one(peer)):
        return GRAMMAR
    return UNEXPLAINED


def same(row: Row, other: Row) -> bool:
    """Whether all five values agree to 1e-12."""
    return all(abs(a - b) <= SAME for a, b in zip(row, other, strict=True))


def without_flow_of_one(row: Row) -> Row:
    """The package's row as it would be if a data flow of 0 counted as 0."""
    return [row[0] - 0.25, *row[1:]] if row[4] == 0 else row


def counted(reasons: Sequence[str]) -> dict[str, int]:
    """How many pairs belong to which of `REASONS`, all of them named."""
    found = Counter(reasons)
    return {each: found[each] for each in REASONS}
