"""Merging: an adapter added into the weights of its base, by PEFT, so that what is left is a plain model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codetune.errors import UserError
from codetune.methods import Adapted, load_adapter


def merge_adapters(model: Any, folders: Sequence[Path]) -> Any:
    """The model with the adapters in these folders added in, one after the other. The given model is used up."""
    for folder in folders:
        model = merged(load_adapter(model, folder), str(folder))
    return model


def merged(adapted: Adapted, where: str) -> Any:
    """The plain model that answers like the adapted one. Raises UserError for what cannot be merged, or has weights that are no numbers."""
    if adapted.peft is None:
        return adapted.model
    if not hasattr(adapted.peft.base_model, "merge_and_unload"):
        raise UserError(f"{where}: {adapted.method} cannot be merged into a model's weights; serve the base model with the adapter")
    try:
        model = adapted.peft.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError, TypeError) as error:
        raise UserError(f"{where}: {adapted.method} cannot be merged ({str(error).splitlines()[0][:200]})") from None
    with contextlib.suppress(AttributeError):
        del model.peft_config
    return model
