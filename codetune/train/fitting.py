"""What to change where a run does not fit: every change is forecast before it is named, the nearest to what was asked for first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from codetune.batches import Batch, collate, full_rows
from codetune.config import FullConfig, LoraConfig, LoraSettings, QloraConfig, TrainConfig, TrainRecipe
from codetune.data.pack import Row, row_tokens
from codetune.errors import UserError
from codetune.models.compatibility import refusal
from codetune.models.forecast import Machine
from codetune.models.outline import outline_of, without_data
from codetune.train.memory import forecast_memory
from codetune.train.plan import micro_batches
from codetune.train.precision import quantize_of
from codetune.train.run import Material

NAMED = 3
FILLED = 0.95  # of a machine's memory, at most, by the forecast of a run that is to keep what its layers compute


@dataclass(frozen=True, slots=True)
class Change:
    """Settings that would fit, as one gives them on the command line, and their forecast in bytes."""

    settings: str
    peak: int


def changes_that_fit(
    recipe: TrainRecipe, config: Any, longest: Sequence[Batch], machine: Machine, limit: int = NAMED, keys: Collection[str] | None = None
) -> list[Change]:
    """At most so many changes that bring the run's forecast under the machine's memory; fewer, or none, where nothing more would.

    Of settings of `train` with these `keys` alone, where they are given.
    """
    found: list[Change] = []
    parameters = outline_of(without_data(config)).parameters
    for settings, train, method in _candidates(recipe, machine.gpu):
        if keys is not None and (method is not None or not train.keys() <= set(keys)):
            continue
        changed = recipe.model_copy(update={"train": recipe.train.model_copy(update=train), **({"method": method} if method else {})})
        if _least(changed, parameters) > machine.memory_bytes:
            continue
        rows = min(changed.train.micro_batch_size, max(len(batch.input_ids) for batch in longest))
        width = min(changed.train.max_seq_len, max(batch.input_ids.shape[1] for batch in longest))
        smaller = {"micro_batch_size", "max_seq_len"} & train.keys()
        batches = (full_rows(rows, width),) if smaller else longest
        try:
            peak = forecast_memory(config, changed.method, changed.train, batches, gpu=machine.gpu).peak
        except UserError:
            continue
        if peak <= machine.memory_bytes:
            found.append(Change(settings, peak))
        if len(found) == limit:
            break
    return found


def _least(recipe: TrainRecipe, parameters: int) -> int:
    """Bytes that full fine-tuning takes at the least, to spare what is far too much a trace: weights, gradients and moments."""
    if not isinstance(recipe.method, FullConfig):
        return 0
    moments = {"adamw": 8, "adam": 8, "muon": 4, "adamw_8bit": 2, "adafactor": 0}[recipe.train.optimizer]
    return parameters * (moments + (4 if recipe.train.precision == "bf16_weights" else 8))


def settle_checkpointing(recipe: TrainRecipe, config: Any, longest: Sequence[Batch], machine: Machine) -> tuple[TrainRecipe, str]:
    """The recipe with `activation_checkpointing: auto` as yes or no, and a line that says why; "" where it was settled.

    Layers are computed twice only where the steps would not fit the machine otherwise, by the forecast, and the method can have it so. The
    method's size must be settled.
    """
    if recipe.train.activation_checkpointing != "auto":
        return recipe, ""
    kept = recipe.train.model_copy(update={"activation_checkpointing": False})
    peak = forecast_memory(config, recipe.method, kept, longest, gpu=machine.gpu).training
    there = f"{peak / 1e9:.2f} GB forecast without, {machine.memory_bytes / 1e9:.1f} GB on {machine.name}"
    fits, reason = peak <= FILLED * machine.memory_bytes, refusal(config, recipe.method.name, ("checkpointing",))
    twice = not fits and not reason
    word = "on" if twice else "off"
    why = f"train.activation_checkpointing=auto: {word} ({there}{f'; {reason}' if reason and not fits else ''})"
    return recipe.model_copy(update={"train": kept.model_copy(update={"activation_checkpointing": twice})}), why


def advice(peak: int, machine: Machine, changes: Sequence[Change]) -> str:
    """One line: how much is missing, and what would fit."""
    short = f"{peak / 1e9:.1f} GB forecast, {machine.memory_bytes / 1e9:.1f} GB on {machine.name}"
    if not changes:
        return f"{short}; nothing that codetune can change would fit: take a smaller model or a larger machine"
    return f"{short}; these would fit: {named(changes)}"


def named(changes: Sequence[Change]) -> str:
    """The changes in words, each with its forecast."""
    return ", or ".join(f"{one.settings} ({one.peak / 1e9:.{2 if one.peak < 1e10 else 1}f} GB)" for one in changes)


def longest_batches(material: Material, train: TrainConfig) -> list[Batch]:
    """The micro-batch with the most tokens, padding included, and the one with the most attention, where it is another."""
    groups = [group for step in material.steps for group in micro_batches(step, material.rows, train.micro_batch_size)]
    most = max(groups, key=lambda group: len(group) * max(map(row_tokens, group)))
    widest = max(groups, key=_attention)
    return [collate(material.examples, group, train.packing) for group in ([most] if most is widest else [most, widest])]


def _attention(group: Sequence[Row]) -> int:
    """Scores of one head: every document is as wide as the longest."""
    return sum(map(len, group)) * max(stop - start for row in group for _, start, stop in row) ** 2


def _candidates(recipe: TrainRecipe, gpu: bool) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Settings in words, keys of `train` that change, and another method; what changes no result comes first, another method last."""
    train = recipe.train
    smaller = [size for size in (train.micro_batch_size // 2, 1) if 0 < size < train.micro_batch_size]
    one = {"micro_batch_size": 1} if train.micro_batch_size > 1 else {}
    first = "--set train.micro_batch_size=1 " if one else ""
    twice = {"activation_checkpointing": True}
    for size in dict.fromkeys(smaller):
        yield f"--set train.micro_batch_size={size}", {"micro_batch_size": size}, None
    if not train.layers_twice:
        yield "--set train.activation_checkpointing=true", twice, None
        if one:
            yield f"{first}--set train.activation_checkpointing=true", one | twice, None
    if gpu and not train.offload_frozen_weights and not isinstance(recipe.method, FullConfig) and quantize_of(recipe) == "none":
        away, words = {"offload_frozen_weights": True}, "--set train.offload_frozen_weights=true"
        yield words, away, None
        yield f"{first}--set train.activation_checkpointing=true {words}", one | twice | away, None
    if isinstance(recipe.method, FullConfig) and train.batch_tokens <= train.micro_batch_size * train.max_seq_len:
        inside, words = {"optimizer_in_backward": True}, "--set train.optimizer_in_backward=true"
        yield words, inside, None
        yield f"--set train.activation_checkpointing=true {words}", twice | inside, None
    narrow = "--set train.activation_checkpointing=true "
    if train.precision == "fp32":
        yield "--set train.precision=bf16", {"precision": "bf16"}, None
        yield f"{first}{narrow}--set train.precision=bf16", one | twice | {"precision": "bf16"}, None
    if train.precision != "bf16_weights":
        yield "--set train.precision=bf16_weights", {"precision": "bf16_weights"}, None
        yield f"{first}{narrow}--set train.precision=bf16_weights", one | twice | {"precision": "bf16_weights"}, None
    if isinstance(recipe.method, FullConfig) and train.optimizer != "adamw_8bit":
        least = {"precision": "bf16_weights", "optimizer": "adamw_8bit"}
        words = "--set train.precision=bf16_weights --set train.optimizer=adamw_8bit"
        yield f"{first}{narrow}{words}", one | twice | least, None
    if train.max_seq_len > 256:
        half = train.max_seq_len // 2
        yield f"{first}{narrow}--set train.max_seq_len={half}", one | twice | {"max_seq_len": half}, None
    if isinstance(recipe.method, FullConfig):
        yield "--set method=lora", {}, LoraConfig()
    if not isinstance(recipe.method, LoraSettings) or recipe.method.quantize == "none":
        yield "--set method=qlora", {}, QloraConfig()
        yield f"{first}{narrow}--set method=qlora", one | twice, QloraConfig()
