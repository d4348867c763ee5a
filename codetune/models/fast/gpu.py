"""What is faster on a GPU, by what the model is made of and what is installed."""

from __future__ import annotations

from typing import Any

from codetune.models.fast.gpu_attention import use_packed_attention


def speed_up_on_gpu(model: Any) -> None:
    """Put it in place; what is there stays. Also of a model on the meta device, whose memory is forecast."""
    use_packed_attention(model)
