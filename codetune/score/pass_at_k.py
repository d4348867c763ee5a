"""pass@k: the chance that at least one of k samples passes, without bias from n >= k samples (Chen et al. 2021).

>>> pass_at_k(10, 3, 5) == 11 / 12
True
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """1 - C(n-c, k) / C(n, k) for one problem, in exact integers and rounded once.

    Raises ValueError unless 0 <= num_passed <= num_samples and 1 <= k <= num_samples.
    """
    if not 0 <= num_passed <= num_samples or not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} of {num_passed} passed out of {num_samples} samples: needs 0 <= passed <= n and 1 <= k <= n")
    draws = math.comb(num_samples, k)
    return (draws - math.comb(num_samples - num_passed, k)) / draws


def per_problem(counts: Iterable[tuple[int, int]], k: int) -> list[float]:
    """pass@k of each problem from its (samples, passed); n may differ. Their mean is the benchmark's pass@k."""
    return [pass_at_k(num_samples, num_passed, k) for num_samples, num_passed in counts]


def usable_ks(counts: Sequence[tuple[int, int]], ks: Iterable[int]) -> tuple[list[int], list[int]]:
    """The ks that every problem has samples enough for, and those that are to be left out with a notice."""
    least = min((num_samples for num_samples, _ in counts), default=0)
    ordered = sorted(set(ks))
    return [k for k in ordered if 1 <= k <= least], [k for k in ordered if not 1 <= k <= least]
