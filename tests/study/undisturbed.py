"""What two runs of one study must have in common: a report's data without what is measured anew each time."""

from __future__ import annotations

import re
from typing import Any

MEASURED = ("seconds", "_per_s", "per_token", "bytes", "_s", "energy", "cost", "memory", "matrix_rate")


def unmeasured(value: Any) -> Any:
    """A report's JSON without what is measured anew in every run."""
    if isinstance(value, dict):
        return {key: unmeasured(each) for key, each in value.items() if not any(word in key for word in MEASURED)}
    if isinstance(value, str):  # what a sentence says of time and memory
        return re.sub(r"; it trained .*|; [^;]* needs .* of the .*", "", value)
    return [unmeasured(each) for each in value] if isinstance(value, list) else value
