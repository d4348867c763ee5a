"""PEFT without its noise: imported quietly, and used without warnings of what is its own business.

PEFT imports bitsandbytes and torchao where they are installed, and those tell the terminal of kernels for other machines.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

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


@contextlib.contextmanager
def compiling_later() -> Iterator[None]:
    """In the block `torch.compile` gives what compiles when it is first called.

    bitsandbytes compiles four functions while it is imported, which most runs never call; torch's compiler takes a second to load.
    A run that wants bitsandbytes loads it before it begins (`models.quantized`).
    """
    compile_now = torch.compile

    def later(model: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
        if model is None:
            return functools.partial(later, **options)
        compiled = functools.cache(lambda: compile_now(model, **options))

        @functools.wraps(model)
        def first(*given: Any, **named: Any) -> Any:
            return compiled()(*given, **named)

        return first

    torch.compile = later
    try:
        yield
    finally:
        torch.compile = compile_now


with silent(), compiling_later():
    import peft

__all__ = ["peft", "silent"]
