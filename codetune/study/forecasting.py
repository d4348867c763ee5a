"""What one run of a plan would be: parameters, steps, memory and time, and what would fit where it does not.

Where the model is on this machine its rows are the real ones. Where only its shape is known (`models.published`) they are taken as full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.batches import JOINED_STEP, TARGET_STEP, WIDTH_STEP, Batch, full_rows, rounded_up
from codetune.config import MethodConfig, Sized, TrainRecipe, content_hash
from codetune.data.pack import Row, row_tokens, tokens_of
from codetune.data.tokenise import TokenisedExamples
from codetune.data.training import training_data
from codetune.errors import UserError
from codetune.models.compatibility import require
from codetune.models.families import family_of
from codetune.models.forecast import Machine, Pass, forecast_seconds, largest, measure_rate
from codetune.models.outline import load_outline, outline_of, settled, trained_parameters, without_data
from codetune.models.published import is_here, published_config
from codetune.train.dry_run import DryRun, documents_of, measured_in_child
from codetune.train.fitting import Change, changes_that_fit, longest_batches, settle_checkpointing
from codetune.train.material import prepare, too_long
from codetune.train.memory import MemoryForecast, forecast_memory
from codetune.train.plan import micro_batches
from codetune.train.precision import on_machine
from codetune.train.run import Material
from codetune.train.start import require_fit


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: what it would train, a forecast of what that takes (or `problem`, why it cannot be), and how far it is."""

    row: str
    model: str
    data: str
    seed: int | None
    folder: str
    state: str
    precision: str = ""  # what `auto` comes to
    size: str = ""  # the method's, where the recipe gives a share of parameters in its place
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    left_out: int | None = None  # examples longer than a row
    memory: MemoryForecast | None = None
    seconds: float | None = None  # None for a GPU that is not here, too
    assumed: bool = False  # the model is not here: rows are taken as full
    measured: DryRun | None = None
    changes: Sequence[Change] = ()  # that would fit, where the run does not
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a forecast stands on: the model's config and every pass of the run, real or assumed."""

    config: Any
    passes: Sequence[Pass]
    validation: Sequence[Pass]
    longest: Sequence[Batch]  # the micro-batches that may take the most memory
    steps: int
    tokens: int
    left_out: int
    assumed: bool


class Forecaster:
    """Keeps what several runs of a plan share: configs of models, packed data, measured rates."""

    def __init__(self, machine: Machine, dry_run: bool = False) -> None:
        self.machine, self.dry_run = machine, dry_run
        self._bases: dict[str, Basis] = {}
        self._rates: dict[str, float] = {}

    def planned(self, recipe: TrainRecipe, row: str, folder: Path, state: str) -> Planned:
        """The forecast of one run; what is wrong with the recipe becomes its `problem`."""
        named: dict[str, Any] = {"row": row, "model": recipe.model, "data": recipe.data.source, "seed": recipe.seed}
        named |= {"folder": str(folder), "state": state}
        try:
            return Planned(**named, **self._forecast(on_machine(recipe, self.machine)))
        except UserError as error:
            return Planned(**named, problem=str(error))

    def basis(self, recipe: TrainRecipe) -> Basis:
        """The model's config and the run's passes. Raises UserError where neither the model nor its published shape is here."""
        virtual = getattr(recipe.method, "num_virtual_tokens", 0)
        determining = [recipe.model, recipe.architecture, recipe.data.model_dump(mode="json"), recipe.train.model_dump(mode="json")]
        key = content_hash([*map(str, determining), recipe.seed, virtual])
        if key not in self._bases:
            self._bases[key] = _basis(recipe)
        return self._bases[key]

    def _forecast(self, recipe: TrainRecipe) -> dict[str, Any]:
        basis = self.basis(recipe)
        outline = outline_of(without_data(basis.config))
        require(basis.config, recipe.method, recipe.train)
        method = settled(recipe.method, outline)
        chosen = recipe.model_copy(update={"method": method})
        recipe = recipe.model_copy(update={"train": settle_checkpointing(chosen, basis.config, basis.longest, self.machine)[0].train})
        size = f"{method.size_key} {getattr(method, method.size_key)}" if isinstance(method, Sized) and method != recipe.method else ""
        require_fit(recipe.model_copy(update={"method": method}), outline.targets)
        trainable = trained_parameters(outline, method)
        memory = forecast_memory(basis.config, method, recipe.train, basis.longest, basis.passes, self.machine.gpu)
        changes: Sequence[Change] = ()
        if memory.peak > self.machine.memory_bytes:
            sized_recipe = recipe.model_copy(update={"method": method})
            changes = changes_that_fit(sized_recipe, basis.config, basis.longest, self.machine)
        big = largest(basis.passes)
        rate_key = f"{recipe.model} {recipe.architecture} {recipe.train.precision} {big.rows * big.width}"
        if self.machine.here and rate_key not in self._rates:
            self._rates[rate_key] = measure_rate(outline, recipe.train, big.rows * big.width, self.machine.device)
        seconds = None
        if self.machine.here:
            seconds = forecast_seconds(outline, method, recipe.train, basis.passes, basis.validation, self._rates[rate_key])
        return {
            "size": size, "precision": recipe.train.precision,
            "trainable_parameters": trainable, "total_parameters": outline.parameters + (0 if method.name == "full" else trainable),
            "steps": basis.steps, "tokens": basis.tokens, "left_out": basis.left_out, "memory": memory, "seconds": seconds,
            "assumed": basis.assumed, "changes": changes, "measured": self._measured(recipe, method, basis),
        }  # fmt: skip

    def _measured(self, recipe: TrainRecipe, method: MethodConfig, basis: Basis) -> DryRun | None:
        if not self.dry_run:
            return None
        return measured_in_child(basis.config, method, recipe.train, documents_of(basis.longest[0]), recipe.device)


def _basis(recipe: TrainRecipe) -> Basis:
    if recipe.architecture is None and not is_here(recipe.model) and (config := published_config(recipe.model)) is not None:
        return _assumed(recipe, config)
    loaded = load_outline(recipe)
    material = prepare(recipe, loaded)
    steps, tokens = len(material.steps), _planned_tokens(material)
    passes, validation = training_passes(material, recipe), validation_passes(material, recipe)
    longest = longest_batches(material, recipe.train)
    return Basis(loaded.model.config, passes, validation, longest, steps, tokens, material.examples.dropped_long, assumed=False)


def _assumed(recipe: TrainRecipe, config: Any) -> Basis:
    """Full rows of one document each, every token under the loss: no less than any data would take."""
    train, family = recipe.train, family_of(config)
    virtual = getattr(recipe.method, "num_virtual_tokens", 0)
    if train.max_seq_len + virtual > family.max_positions:
        raise UserError(too_long(recipe, family))
    budget = train.train_tokens if train.epochs is None else train.tokens(_about_tokens(recipe))
    rows_in_all = -(-budget // train.max_seq_len)
    rows = min(train.micro_batch_size, rows_in_all, max(1, train.batch_tokens // train.max_seq_len))
    one = Pass(rows, train.max_seq_len, rows * (train.max_seq_len - 1))
    steps = max(1, round(budget / max(train.batch_tokens, train.max_seq_len)))
    passes = [one] * -(-rows_in_all // rows)
    return Basis(config, passes, (), (full_rows(rows, train.max_seq_len),), steps, rows_in_all * train.max_seq_len, 0, assumed=True)


def _about_tokens(recipe: TrainRecipe) -> int:
    """Tokens of the data by its characters, where the tokenizer is not here: at three a token no fewer than code has."""
    documents = training_data(recipe.data, recipe.decontaminate).documents()
    return sum(len(each.instruction) + len(each.input) + len(each.prompt) + len(each.text) for each in documents) // 3


def training_passes(material: Material, recipe: TrainRecipe) -> list[Pass]:
    """Every forward pass of the training, in order. Rows that are run end to end (`models.forward.as_run`) count as long as their mean."""
    joined = recipe.train.fast and recipe.device == "cpu"
    targets = _targets(material.examples, material.rows)
    numbers = {row[0]: number for number, row in enumerate(material.rows)}  # a row is known by its first piece
    groups = (group for step in material.steps for group in micro_batches(step, material.rows, recipe.train.micro_batch_size))
    return [
        Pass(len(group), _width(group, joined), rounded_up(sum(targets[numbers[row[0]]] for row in group), TARGET_STEP)) for group in groups
    ]


def _width(rows: Sequence[Row], joined: bool) -> int:
    """As it is padded: rounded up, so that shapes repeat."""
    lengths = list(map(row_tokens, rows))
    return math.ceil(rounded_up(sum(lengths), JOINED_STEP) / len(lengths)) if joined else rounded_up(max(lengths), WIDTH_STEP)


def validation_passes(material: Material, recipe: TrainRecipe) -> list[Pass]:
    """Every forward pass of all validations."""
    if material.validation is None:
        return []
    rows, size = material.validation_rows, recipe.train.micro_batch_size
    targets = _targets(material.validation, rows)
    once = [
        Pass(len(rows[at : at + size]), max(map(row_tokens, rows[at : at + size])), sum(targets[at : at + size]))
        for at in range(0, len(rows), size)
    ]
    return once * recipe.train.validations


def _planned_tokens(material: Material) -> int:
    """Text tokens seen in all steps."""
    tokens = tokens_of(material.rows)
    return sum(tokens[row] for step in material.steps for row in step)


def _targets(examples: TokenisedExamples, rows: Sequence[Row]) -> list[int]:
    """Tokens under the loss in each row."""
    return [sum(int(examples.targets(index)[start:stop].sum()) for index, start, stop in row) for row in rows]


