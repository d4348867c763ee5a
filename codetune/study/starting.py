"""A recommendation for a model, data and machine: everything is looked up and forecast here, and decided by `recommend`.

    found = recommendation_for(Question("codetune-base", "basics"), machine_here())
    print(found.method, [reason.text for reason in found.reasons])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from codetune.config import METHOD_NAMES, DataConfig, TrainRecipe
from codetune.data.training import training_data
from codetune.errors import UserError, nearest
from codetune.models.families import family_of
from codetune.models.forecast import Machine
from codetune.models.load import read_config
from codetune.models.names import ALIASES, SHIPPED
from codetune.models.outline import outline_of, without_data
from codetune.models.published import SHAPES, is_here, published_config
from codetune.models.stages import read
from codetune.study.findings import Asked, alike, own_findings
from codetune.study.forecasting import Forecaster, Planned
from codetune.study.grounds import Evidence, Fit, Knob, Recommendation
from codetune.study.knobs import starting_train
from codetune.study.precedents import precedents
from codetune.study.recommend import recommend

VIRTUAL_TOKENS = 20  # codetune's default for the methods that have them
# What studies compare; the others are asked for by name, or looked at because a study of one's own has them.
COMPARED = ("full", "lora", "qlora", "prefix_tuning", "prompt_tuning", "ia3", "bottleneck")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for. `runs` is where one's own studies are; without `methods` those that studies compare are looked at."""

    model: str
    data: str
    benchmark: str = ""
    hours: float | None = None
    runs: tuple[Path, ...] = (Path("runs"),)
    methods: tuple[str, ...] = ()


def recommendation_for(question: Question, machine: Machine, told: Callable[[str], None] = lambda method: None) -> Recommendation:
    """Where to start. `told` hears which method is being forecast. Raises UserError for a model, data or method that is not there."""
    for method in question.methods:
        if method not in METHOD_NAMES:
            raise UserError(f"no method {method!r}: {nearest(method, METHOD_NAMES)}")
    data = DataConfig(source=question.data)
    lengths = [len(document.whole) for document in training_data(data).documents()]
    config = _config_of(question.model)
    family, parameters = str(config.model_type), outline_of(without_data(config)).parameters
    asked = Asked(question.model, question.data, family, parameters, len(lengths), question.benchmark)
    findings, notes = own_findings(question.runs, asked, family_called)
    scores, not_printed = precedents(question.model, lambda name: _as_large(name, parameters))
    train = _for_the_model(starting_train(findings, lengths), config)
    recipe = TrainRecipe.model_validate(
        {"name": "start", "model": question.model, "data": data, "train": {knob.key.removeprefix("train."): knob.value for knob in train}}
    )
    seen = {rival.method for finding in findings for rival in finding.rivals if rival.method in METHOD_NAMES}
    wanted = question.methods or tuple(name for name in METHOD_NAMES if name in {*COMPARED, *seen})
    fits, more = fits_of(recipe, wanted, machine, told)
    return recommend(Evidence(
        question.model, question.data, machine.name, machine.memory_bytes, tuple(fits), tuple(findings),
        tuple(scores), parameters, question.hours, train, (*more, *notes, *not_printed),
    ))  # fmt: skip


def fits_of(
    recipe: TrainRecipe, methods: Sequence[str], machine: Machine, told: Callable[[str], None] = lambda method: None
) -> tuple[list[Fit], list[str]]:
    """Each method's forecast, with the first change that brings it under the machine's memory; and lines on what is not known."""
    forecaster, fits, planned = Forecaster(machine), [], []
    for name in methods:
        told(name)
        asked = recipe.model_copy(update={"method": TrainRecipe.model_validate(recipe.model_dump() | {"method": name}).method})
        planned.append(forecaster.planned(asked, name, Path(), ""))
        fits.append(_fit(planned[-1], asked, machine, forecaster))
    notes = []
    if any(one.assumed for one in planned):
        rows = f"full rows of {recipe.train.max_seq_len} tokens"
        notes.append(f"{recipe.model} is not on this machine: forecast by its published shape, with {rows}")
    if left_out := max((one.left_out or 0 for one in planned), default=0):
        notes.append(f"{left_out} examples are longer than train.max_seq_len {recipe.train.max_seq_len} and would be left out")
    if not machine.here:
        notes.append(f"training time is not forecast: {machine.name} is not here to be measured")
    if others := [name for name in METHOD_NAMES if name not in methods]:
        notes.append(f"not looked at: {', '.join(others)}; --method names others")
    return fits, notes


def family_called(model: str) -> str:
    """A model's `model_type` by its name, "" where that is not known without a download."""
    folder = SHIPPED.get(model, Path(model))
    short = {hub: alias for alias, hub in ALIASES.items()}.get(model, model)
    return str(read(folder / "config.json").get("model_type") or SHAPES.get(short, {}).get("model_type") or "")


def _config_of(name: str) -> Any:
    """A model's config, or its published shape. Raises UserError where neither is here."""
    config: Any = None if is_here(name) else published_config(name)
    return read_config(name)[0] if config is None else config


def _for_the_model(train: Sequence[Knob], config: Any) -> tuple[Knob, ...]:
    """Rows no longer than the model has positions, with room for virtual tokens; padded ones for a model with an encoder."""
    most = family_of(config).max_positions - VIRTUAL_TOKENS
    why = f"the model has {most + VIRTUAL_TOKENS} positions, and virtual tokens take {VIRTUAL_TOKENS} of them"
    found = [Knob(one.key, most, why) if one.key == "train.max_seq_len" and one.value > most else one for one in train]
    if getattr(config, "is_encoder_decoder", False):
        found.append(Knob("train.packing", "padded", "texts cannot share a row of this family's encoder"))
    return tuple(found)


def _as_large(name: str, parameters: int) -> bool:
    """Whether a published model is of the size class; False for one whose shape is not known here."""
    config: Any = published_config(name)
    return config is not None and alike(outline_of(without_data(config)).parameters, parameters)


def _fit(planned: Planned, recipe: TrainRecipe, machine: Machine, forecaster: Forecaster) -> Fit:
    if planned.problem or planned.memory is None:
        return Fit(planned.row, False, problem=planned.problem)
    if planned.memory.peak <= machine.memory_bytes:
        return Fit(planned.row, True, planned.memory.peak, planned.seconds, planned.trainable_parameters)
    for change in planned.changes:
        settings = dict(_setting(each) for each in change.settings.split("--set ") if each)
        if all(key.startswith("train.") for key in settings) and "train.max_seq_len" not in settings:
            train = {key.removeprefix("train."): value for key, value in settings.items()}
            changed = recipe.model_copy(update={"train": recipe.train.changed(train)})
            seconds = forecaster.planned(changed, planned.row, Path(), "").seconds if machine.here else None
            return Fit(planned.row, True, change.peak, seconds, planned.trainable_parameters, train)
    return Fit(planned.row, False, planned.memory.peak, None, planned.trainable_parameters)


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.strip().partition("=")
    return key, yaml.safe_load(value)
