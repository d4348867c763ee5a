"""PEFT without its noise: imported quietly, and used without warnings of what is its own business.

PEFT imports bitsandbytes and torchao where they are installed, and those tell the terminal of kernels for other machines.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_TALKATIVE = ("bitsandbytes", "torchao", "torch.utils._pytree")


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No warnings, and errors alone from libraries that talk while they are imported."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


with silent():
    import peft

__all__ = ["peft", "silent"]
