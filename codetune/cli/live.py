"""The live engine that `serve`, `chat` and `mend` have answer: the one place where it is opened."""

from __future__ import annotations

from codetune.cli.flags import LiveFlags, ServedFlags, adapters_by_name
from codetune.errors import UserError
from codetune.generate.continuous import ContinuousEngine
from codetune.generate.live import LiveEngine
from codetune.models.several import open_voices

ROWS, WAITING = 16, 256  # answers that are written at once, and that may wait


def open_live_engine(flags: LiveFlags | ServedFlags, rows: int = ROWS, waiting: int = WAITING) -> LiveEngine:
    """Loads the model with its adapters; the caller closes it. Raises UserError where one cannot be had."""
    if not flags.model:
        raise UserError("--model is missing: give codetune-base (ships with codetune), a folder, or a hub id")
    adapters = adapters_by_name(flags.adapter or ())
    voices = open_voices(flags.model, adapters, flags.precision or "fp32", flags.device or "auto", flags.quantize)
    return ContinuousEngine(voices, rows, waiting)
