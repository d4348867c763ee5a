"""Which numbers a faster computation runs in: those that autocast would have it run in, decided once and not operation by operation."""

from __future__ import annotations

from typing import Any

import torch

_NARROW = "codetune_narrow"


def applied(function: Any, *given: Any) -> torch.Tensor:
    """`function.apply`, which PyTorch has without types."""
    made: torch.Tensor = function.apply(*given)
    return made


def product_type(tensor: torch.Tensor) -> torch.dtype:
    """What matrices are multiplied in: autocast's dtype where it is on, else the tensor's own. float64 stays what it is."""
    device = tensor.device.type
    if torch.is_autocast_enabled(device) and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return tensor.dtype


def plainly(device: str) -> torch.autocast:
    """Inside, every operation runs in the numbers that it is given."""
    return torch.autocast(device, enabled=False)


def narrowed(parameter: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A frozen parameter in another type, made once; made anew where the parameter has changed since, in place or for another tensor.

    Not seen is what is written through `.data`, as PEFT merges: what is merged is no matrix that this is asked for.
    """
    if parameter.requires_grad or parameter.dtype == dtype:
        return parameter.to(dtype)
    state = parameter.data_ptr(), parameter._version, dtype
    kept = getattr(parameter, _NARROW, None)
    if kept is None or kept[0] != state:
        kept = state, parameter.detach().to(dtype)
        setattr(parameter, _NARROW, kept)
    made: torch.Tensor = kept[1]
    return made
