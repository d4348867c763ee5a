"""Merging: an adapter added into the weights of its base, by PEFT, so that what is left is a plain model."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from codetune.errors import UserError
from codetune.methods import Adapted, load_adapter
from codetune.models.names import resolve
from codetune.models.offloading import offloading_of
from codetune.models.stages import stages_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def merge_in_place(adapted: Adapted) -> None:
    """Make what is trained part of the base's own weights by PEFT's `merge_adapter`, where they lie."""
    adapted.peft.merge_adapter()
    if (stream := offloading_of(adapted.model)) is not None:
        stream.settle()


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


def stored_dtype(name: str) -> str:
    """The dtype that a model's weights are published in, fp32 where it is another than codetune writes."""
    config = transformers.AutoConfig.from_pretrained(resolve(stages_of(name).base))
    return next((kind for kind, dtype in DTYPES.items() if dtype == config.dtype), "fp32")


def save_whole(model: Any, tokenizer: Any, folder: Path, dtype: str) -> None:
    """The model as safetensors, in shards of 5 GB, with its tokenizer. Its weights are rounded in place."""
    model.to(DTYPES[dtype])
    generation = getattr(model, "generation_config", None)
    if generation is not None and any(getattr(generation, key, None) not in (None, 1.0) for key in ("temperature", "top_p")):
        generation.do_sample = True  # some bases are published without it: what transformers reads so it does not write
    model.save_pretrained(folder, max_shard_size="5GB")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors leaves them to their owner alone
    tokenizer.save_pretrained(folder)
