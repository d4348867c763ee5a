"""ROUGE-L (Lin 2004) for code: F1 of the longest common subsequence of tokens, operators kept.

Google's tokeniser drops operators, so `a == b` and `a != b` would be equal; here every operator is a token.

>>> round(rouge_l("a == b", ["a != b"]), 4)
0.6667
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Words and numbers, Python's operators longest first, then any other sign on its own.
_TOKEN = re.compile(r"\w+|\*\*=|//=|>>=|<<=|\.\.\.|[=!<>+\-*/%&|^@:]=|->|\*\*|//|<<|>>|[^\w\s]")

SIGNATURE = "rouge-l|f1|tok:code words and operators|level:mean of sentences|refs:best of|empty:0|scale:0..1"


def code_tokens(code: str) -> list[str]:
    """Words, numbers and operators of a text that need not be valid Python; case is kept.

    >>> code_tokens("x **= y[1:-1]")
    ['x', '**=', 'y', '[', '1', ':', '-', '1', ']']
    """
    return _TOKEN.findall(code)


def lcs_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004): one step on an integer of len(a) bits per item of b."""
    places: dict[str, int] = {}
    for index, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << index
    full = (1 << len(a)) - 1
    unmatched = full
    for item in b:
        hits = unmatched & places.get(item, 0)
        unmatched = (unmatched + hits | unmatched - hits) & full
    return len(a) - unmatched.bit_count()


def rouge_l(completion: str, references: Sequence[str]) -> float:
    """ROUGE-L F1 in 0..1 against the best of the references; 0 if a side has no token."""
    tokens = code_tokens(completion)
    return max(_f1(tokens, code_tokens(reference)) for reference in references)


def _f1(tokens: list[str], reference: list[str]) -> float:
    if not tokens or not reference:
        return 0.0
    return 2 * lcs_length(tokens, reference) / (len(tokens) + len(reference))
