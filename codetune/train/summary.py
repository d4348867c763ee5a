"""What a finished training says of itself in numbers."""

from __future__ import annotations

from typing import Any

from codetune.config import Sized, TrainRecipe
from codetune.data.pack import tokens_of
from codetune.methods import Adapted
from codetune.models.load import LoadedModel
from codetune.train.held_out import bits_per_byte
from codetune.train.resume import Progress
from codetune.train.run import Material


def held_out(before: float | None, progress: Progress, material: Material, recipe: TrainRecipe, loaded: LoadedModel) -> dict[str, Any]:
    """The validation loss of the base model and of the kept weights, as nats per token and bits per byte; empty without validation."""
    after = progress.last_val_loss if recipe.train.keep == "last" or progress.kept is None else progress.kept[1]
    if before is None or after is None or material.validation is None:
        return {}
    scale = bits_per_byte(1.0, material.validation, loaded.tokenizer)
    return {"loss": [before, after], "bits_per_byte": [before * scale, after * scale], "examples": len(material.validation)}


def summarise(recipe: TrainRecipe, adapted: Adapted, material: Material, progress: Progress) -> dict[str, Any]:
    """What a table needs to know of the training."""
    trainable, total = adapted.trainable_share()
    config = recipe.train
    fill = sum(tokens_of(material.rows)) / (len(material.rows) * config.max_seq_len)
    return {
        "seconds": progress.seconds, "steps": progress.step, "tokens": progress.tokens, "supervised_tokens": progress.supervised_tokens,
        "tokens_per_s": progress.tokens / progress.seconds if progress.seconds else 0.0, "trainable_parameters": trainable,
        "total_parameters": total, "trainable_share": trainable / total, "learning_rate": recipe.method.learning_rate,
        "size": getattr(recipe.method, recipe.method.size_key) if isinstance(recipe.method, Sized) else None,
        "first_loss": progress.first_loss, "last_loss": progress.last_loss, "best_val_loss": progress.best_val_loss,
        "last_val_loss": progress.last_val_loss, "best_pass_rate": progress.best_pass_rate, "last_pass_rate": progress.last_pass_rate,
        "stopped": progress.stopped, "losses_finite": progress.losses_finite, "packing": config.packing, "fill": fill,
        "bad_steps": progress.bad_steps, "precision": config.precision, "device": recipe.device, "examples": len(material.examples),
        "dropped_long": material.examples.dropped_long,
    }  # fmt: skip
