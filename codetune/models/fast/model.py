"""Which of the faster computations a model gets, by what it is made of and where it computes."""

from __future__ import annotations

from typing import Any

from codetune.models.fast.gpu import speed_up_on_gpu


def speed_up(model: Any, where: str) -> None:
    """Put what is faster on the device `where` in the place of what the model's layers compute; what is in place already stays.

    To be called again once a method has changed the layers.
    """
    if where.startswith("cuda"):
        speed_up_on_gpu(model)
