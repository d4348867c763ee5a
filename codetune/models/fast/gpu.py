"""What is faster on a GPU alone, by what the model is made of and what is installed."""

from __future__ import annotations

import os
from typing import Any

from codetune.models.fast.gpu_attention import use_packed_attention
from codetune.models.fast.gpu_liger import installed, liger, use_kernels
from codetune.models.fast.gpu_loss import use_fused_loss


def speed_up_on_gpu(model: Any, compiled: bool = False) -> None:
    """Put it in place; what is there stays. Also of a model on the meta device, whose memory is forecast: attention alone, as no
    kernel of Liger's keeps more than what the layers have without it. Layers that are to be compiled get no kernels but attention's: the
    compiler makes its own.
    """
    use_packed_attention(model)
    device = next(model.parameters()).device
    if installed() and (device.type == "cuda" or interpreted(device)):
        use_fused_loss(model)
        if not compiled:
            use_kernels(model, liger(device))


def interpreted(device: Any) -> bool:
    """Whether Triton's kernels run on the CPU, by its interpreter: for tests."""
    return bool(device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")
