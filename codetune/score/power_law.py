"""How a loss falls with size: L = a N^-b + c fitted to measured points, or a plain word why no law is fitted.

The rule. Four sizes or more are enough for three parameters; three sizes for two of them, with c = 0; fewer for none. The sizes must
span a factor of 3. Squares of log residuals are minimised, so that an error of 1% weighs the same at every size (Hoffmann et al. 2022,
arXiv:2203.15556, and Kaplan et al. 2020, arXiv:2001.08361, fit logarithms, too). Where the best c is 0, the law without c stands. Several
runs at a size are fitted as they are, which is what tells noise from misfit: a law that misses the means of its sizes by more than the
spread of their runs explains (F test of lack of fit, p < .05) is refused. Intervals are Student's t on the covariance of least squares;
they hold if the law does, and say nothing beyond the sizes that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

SIZES_FOR_TWO, SIZES_FOR_THREE = 3, 4
LEAST_SPAN = 3.0
MISFIT_P = 0.05
_STARTS = (0.0, 0.3, 0.6, 0.9)  # of c, as shares of the smallest loss


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """L = a N^-b + c; `c` is None where it was not fitted. Intervals are None where as many points as parameters leave none."""

    a: float
    b: float
    c: float | None
    b_interval: Interval | None
    c_interval: Interval | None
    sizes: int
    runs: int
    note: str = ""

    def at(self, sizes: ArrayLike) -> Array:
        """The loss that the law gives for sizes."""
        return np.asarray(self.a * np.asarray(sizes, dtype=np.float64) ** -self.b + (self.c or 0.0))


@dataclass(frozen=True, slots=True)
class NoLaw:
    """Why no law is fitted, as the rest of a sentence."""

    why: str


def fit_power_law(sizes: Sequence[float], losses: Sequence[float]) -> PowerLaw | NoLaw:
    """The law of runs of these sizes (examples, parameters, tokens) and losses, by the rule above; several runs may share a size.

    >>> law = fit_power_law([100, 1000, 10000], [4.0, 2.0, 1.0])
    >>> round(law.b, 6), round(law.a, 6), law.c
    (0.30103, 16.0, None)
    """
    n, loss = np.asarray(sizes, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if n.shape != loss.shape or n.ndim != 1:
        raise ValueError(f"{n.shape} sizes and {loss.shape} losses: expected one loss for each size")
    if not (np.isfinite(n).all() and np.isfinite(loss).all() and (n > 0).all() and (loss > 0).all()):
        return NoLaw("a size or a loss is not a positive number")
    distinct = len(np.unique(n))
    if distinct < SIZES_FOR_TWO:
        return NoLaw(f"{distinct} size{'s' if distinct != 1 else ''} of the {SIZES_FOR_TWO} that two parameters need")
    if n.max() / n.min() < LEAST_SPAN:
        return NoLaw(f"the sizes span a factor of {n.max() / n.min():.1f}, less than {LEAST_SPAN:g}")
    found = _with_constant(n, loss) if distinct >= SIZES_FOR_THREE else _without_constant(n, loss)
    if found.b <= 0:
        return NoLaw("the loss does not fall with size")
    misfit = _lack_of_fit_p(n, loss, found)
    if misfit is not None and misfit < MISFIT_P:
        return NoLaw(f"the means are off the curve by more than runs of a size differ (lack of fit, p = {misfit:.2g})")
    return found


def _without_constant(n: Array, loss: Array, note: str = "") -> PowerLaw:
    """A straight line through the logarithms."""
    x, y = np.log(n), np.log(loss)
    design = np.stack([np.ones_like(x), -x], axis=1)
    (log_a, b), *_ = np.linalg.lstsq(design, y, rcond=None)
    errors = _standard_errors(design, y - design @ np.array([log_a, b]))
    law = PowerLaw(float(np.exp(log_a)), float(b), None, None, None, len(np.unique(n)), len(n), note)
    return law if errors is None else _sure(law, errors[1], None, len(n) - 2)


def _with_constant(n: Array, loss: Array) -> PowerLaw:
    """log(a N^-b + c) by least squares from several starts, c no less than 0."""
    from scipy.optimize import least_squares  # half a second to import, and few reports need it

    x, y, lowest = np.log(n), np.log(loss), float(loss.min())
    middle = float(x.mean())  # sizes about 1, so that a and b are told apart

    def modelled(p: Array) -> Array:
        return np.asarray(np.log(np.exp(p[0] - p[1] * (x - middle)) + p[2] * lowest))

    fits = []
    for share in _STARTS:
        slope, level = np.polyfit(x - middle, np.log(loss - share * lowest), 1)
        start = np.array([level, -slope, share])
        bounds = ([-np.inf, -np.inf, 0.0], [np.inf, np.inf, 1.0])
        fits.append(least_squares(lambda p: modelled(p) - y, start, bounds=bounds, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=2000))
    best = min(fits, key=lambda fit: fit.cost)
    scale, b, share = (float(value) for value in best.x)
    if share < 1e-6:
        return _without_constant(n, loss, "the best constant is 0")
    law = PowerLaw(math.exp(scale + b * middle), b, share * lowest, None, None, len(np.unique(n)), len(n))
    errors = _standard_errors(best.jac, y - modelled(best.x))
    return law if errors is None else _sure(law, errors[1], errors[2] * lowest, len(n) - 3)


def _standard_errors(jacobian: Array, residuals: Array) -> Array | None:
    """Of the parameters; None where there are no more points than parameters, or the points do not determine them."""
    freedom = len(residuals) - jacobian.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(jacobian) < jacobian.shape[1]:
        return None
    variance = float(residuals @ residuals) / freedom
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)) * variance))


def _sure(law: PowerLaw, b_error: float, c_error: float | None, freedom: int) -> PowerLaw:
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, 0.975))
    around_c = None
    if law.c is not None and c_error is not None:
        around_c = (max(0.0, law.c - reach * c_error), law.c + reach * c_error)
    around_b = (law.b - reach * float(b_error), law.b + reach * float(b_error))
    return PowerLaw(law.a, law.b, law.c, around_b, around_c, law.sizes, law.runs, law.note)


def _lack_of_fit_p(n: Array, loss: Array, law: PowerLaw) -> float | None:
    """Misfit of the means against the spread of runs at a size; None where no size has two runs, or no size is to spare."""
    from scipy.special import fdtrc

    y, off = np.log(loss), 0.0
    spread, groups = 0.0, np.unique(n)
    for size in groups:
        own = y[n == size]
        spread += float(((own - own.mean()) ** 2).sum())
        off += len(own) * float(own.mean() - np.log(law.at(size))) ** 2
    to_spare, within = len(groups) - (2 if law.c is None else 3), len(n) - len(groups)
    if to_spare < 1 or within < 1:
        return None
    if spread < 1e-18:
        return 1.0 if off < 1e-15 else 0.0
    return float(fdtrc(to_spare, within, (off / to_spare) / (spread / within)))
