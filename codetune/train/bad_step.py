"""What a bad step is: a loss or gradient norm that is no number, or a loss far above those before it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from codetune.records import Json

WINDOW = 20  # a spike is measured against so many losses, and there is none before there are as many
ROLL_BACKS = 3  # of a run: where more steps are bad, it is not the examples
_SHOWN = 5


def badness(loss: float, norm: float, recent: Sequence[float], first: float | None, factor: float) -> str:
    """What is wrong with a step's loss and gradient norm, "" where nothing is.

    A spike is a loss above `factor` times the median of the last 20 losses and above the first of the run: what falls from 6 to 0.01
    may jump to 0.05 and is none the worse. `factor` 0 asks for no spikes.

    >>> badness(6.5, 1.0, [2.0] * 20, 6.0, 3.0)
    'loss 6.5, 3.2 times the median of the last 20 steps,'
    >>> badness(5.5, 1.0, [1.0] * 20, 6.0, 3.0)
    ''
    """
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return f"loss {loss:.4g} and gradient norm {norm:.4g}"
    if factor and first is not None and len(recent) >= WINDOW:
        median = statistics.median(recent[-WINDOW:])
        if loss > factor * median and loss > first:
            return f"loss {loss:.4g}, {loss / median:.2g} times the median of the last {WINDOW} steps,"
    return ""


def told(found: Json) -> str:
    """A bad step in a line: what, where, and the documents that it learned from, or else its examples by number."""
    names = found["documents"] or [str(example) for example in found["examples"]]
    more = len(names) - _SHOWN
    return f"{found['why']} at step {found['step']} (examples: {', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''})"
