"""Numbers as people read them: bytes, durations, shares, points and intervals, one function each."""

from __future__ import annotations

import math
from typing import TypeGuard

MISSING = "–"  # what every function gives for None and for a number that is not finite

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_bytes(count: float | None) -> str:
    """Decimal units, two significant digits under ten.

    >>> format_bytes(1_234_567_890)
    '1.2 GB'
    >>> format_bytes(512)
    '512 B'
    """
    if not _finite(count):
        return MISSING
    value, unit = float(count), 0
    # 999.5 kB would print as "1000 kB": move on as soon as rounding reaches the next unit.
    while unit < len(_BYTE_UNITS) - 1 and abs(value) >= 999.5:
        value, unit = value / 1000, unit + 1
    digits = 1 if unit and abs(value) < 9.95 else 0
    return f"{value:.{digits}f} {_BYTE_UNITS[unit]}"


def format_seconds(seconds: float | None) -> str:
    """The two largest units that matter.

    >>> format_seconds(192.4)
    '3 min 12 s'
    >>> format_seconds(7260)
    '2 h 1 min'
    >>> format_seconds(4.25)
    '4.2 s'
    """
    if not _finite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def format_percent(share: float | None, digits: int = 1) -> str:
    """A share in 0..1 as a percentage: `0.4213` is `42.1%`."""
    return f"{100 * share:.{digits}f}%" if _finite(share) else MISSING


def format_small_percent(share: float | None) -> str:
    """A share that may be tiny (trained parameters), to three significant digits.

    >>> format_small_percent(0.0000123), format_small_percent(0.0186), format_small_percent(1.0)
    ('0.00123%', '1.86%', '100%')
    """
    if not _finite(share):
        return MISSING
    percent = 100 * share
    if percent == 0 or percent >= 99.95:
        return f"{percent:.0f}%"
    digits = max(0, 2 - math.floor(math.log10(abs(percent))))
    return f"{percent:.{digits}f}%"


def format_points(difference: float | None, digits: int = 1) -> str:
    """A difference of two shares, in percentage points with its sign: `0.123` is `+12.3`."""
    if not _finite(difference):
        return MISSING
    text = f"{100 * difference:+.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def format_interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval of shares in percent: `42.1 to 47.9`."""
    if not (_finite(low) and _finite(high)):
        return MISSING
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}".replace("-", "−")


def format_score(score: float | None) -> str:
    """A text metric in 0..1 on the usual scale of 0 to 100: `0.3217` is `32.2`."""
    return f"{100 * score:.1f}" if _finite(score) else MISSING


def format_rate(per_second: float | None) -> str:
    """`5234.6` is `5,235`; under ten one decimal is kept."""
    if not _finite(per_second):
        return MISSING
    return f"{per_second:,.1f}" if per_second < 9.95 else f"{per_second:,.0f}"


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
