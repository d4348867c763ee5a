"""A recommendation as a recipe file: every value with its effect and where it comes from, loaded back before it is kept."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from codetune.config import DataConfig, TrainConfig, TrainRecipe, validate
from codetune.errors import UserError
from codetune.runs import write_atomically
from codetune.study.grounds import Knob, Recommendation
from codetune.study.knobs import default_method

_WIDTH = 116
_ALWAYS = (  # what a reader of the recipe wants to see although it is a default
    Knob("train.micro_batch_size", 4, "codetune's default"), Knob("train.validations", 5, "codetune's default"),
    Knob("train.keep", "best", "codetune's default"),
)  # fmt: skip
_EFFECTS = {
    "method.name": "how the model is tuned",
    "method.learning_rate": "too low learns nothing, too high forgets; the one number that is worth a search",
    "method.lora_rank": "more rank, more trained parameters and memory; 8 to 64 is usual",
    "method.num_virtual_tokens": "tokens put before the text; they take positions from it",
    "method.bottleneck_size": "width of the adapters; more is more trained parameters",
    "train.schedule": "how the learning rate falls over the steps",
    "train.optimizer": "adamw_8bit keeps its moments in 8 bits: less memory",
    "train.keep": "which weights are kept: those with the best validation loss, or the last",
}


def recipe_of(found: Recommendation, name: str = "start") -> TrainRecipe:
    """The recommended training as a recipe. Raises UserError where nothing was recommended."""
    if not found.method:
        raise UserError(f"no recipe for {found.model} on {found.machine}: {'; '.join(reason.text for reason in found.reasons)}")
    return validate(_tree(found, name), TrainRecipe, "the recommended recipe")


def commented(found: Recommendation, command: str, name: str = "start") -> str:
    """The recipe as YAML: a head that says why, then each value under a comment on its effect and its origin."""
    recipe = recipe_of(found, name)
    head = [f"{found.method} for {found.model} on {found.data}, {found.machine}. Written by:", "", f"    {command}", "", "Why:"]
    head += [f"- {reason.text} [{reason.source}]" for reason in found.reasons]
    head += ["", "Not known:", *(f"- {line}" for line in found.unknown)] if found.unknown else []
    lines = [*_comment(head, ""), f"name: {_scalar(name)}  # the run's folder is runs/{name}", f"model: {_scalar(found.model)}", "data:"]
    lines += _section("data", [Knob("data.source", found.data, "as asked"), *_of_the_data(recipe)], DataConfig)
    knobs = {knob.key: knob for knob in _ALWAYS} | {knob.key: knob for knob in found.knobs}
    lines += ["method:", *_section("method", list(knobs.values()), type(default_method(found.method)))]
    lines += ["train:", *_section("train", list(knobs.values()), TrainConfig)]
    lines += ["seed: 0  # of the order of examples and of what starts at random; several seeds say how much is chance", *_search()]
    return "\n".join(lines) + "\n"


def write_recipe(path: Path, text: str, wanted: TrainRecipe, force: bool = False) -> None:
    """Keep the recipe, once it has been read back as what was recommended. Raises UserError for a file that is there, without `force`."""
    if path.exists() and not force:
        raise UserError(f"{path} is there already: give another --out, or --force to write over it")
    if validate(yaml.safe_load(text), TrainRecipe, str(path)) != wanted:
        raise RuntimeError("the written recipe does not say what was recommended")
    write_atomically(path, lambda file: file.write(text.encode()))


def _tree(found: Recommendation, name: str) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": name, "model": found.model, "data": {"source": found.data}, "seed": 0}
    for knob in ({each.key: each for each in _ALWAYS} | {each.key: each for each in found.knobs}).values():
        section, _, key = knob.key.partition(".")
        tree.setdefault(section, {})[key] = list(knob.value) if isinstance(knob.value, tuple) else knob.value
    return tree


def _of_the_data(recipe: TrainRecipe) -> list[Knob]:
    """What one would want to change of how the data is read."""
    keys = ("prompt_style", "loss_on", "validation_examples")
    return [Knob(f"data.{key}", getattr(recipe.data, key), "codetune's default") for key in keys]


def _section(name: str, knobs: list[Knob], kind: type[BaseModel]) -> Iterator[str]:
    for knob in knobs:
        section, _, key = knob.key.partition(".")
        if section == name:
            effect = _EFFECTS.get(knob.key) or _description(kind, key)
            yield from _comment([f"{effect}. Here: {knob.why}" if effect else f"Here: {knob.why}"], "  ")
            yield f"  {key}: {_scalar(knob.value)}"


def _description(kind: type[BaseModel], key: str) -> str:
    field = kind.model_fields.get(key)
    return str(field.description or "") if field is not None else ""


def _search() -> Iterator[str]:
    """A search for the learning rate, ready to be switched on."""
    yield from _comment(["To search for the learning rate first (needs the extra `search`):"], "")
    yield "# search: {trials: 5, budget_share: 0.25, learning_rates: [0.1, 0.3, 1.0, 3.0, 10.0]}"


def _comment(lines: list[str], indent: str) -> Iterator[str]:
    for line in lines:
        hang = "  " if line.startswith("- ") else "    " if line.startswith("    ") else ""
        wrapped = textwrap.wrap(line, _WIDTH, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False) or [""]
        yield from (f"{indent}# {part}".rstrip() for part in wrapped)


def _scalar(value: Any) -> str:
    """A value in one line of YAML."""
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("\n").removesuffix("\n...").strip()
