"""Tuning in stages: a run that goes on from an earlier run's weights, or from an adapter made by plain PEFT, of the same method and shape.

Only the weights are taken over: the optimiser starts anew, rate and schedule are the new recipe's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from codetune.config import BitFitConfig, BottleneckConfig, FullConfig, LoraSettings, MethodConfig, TrainRecipe, VeraConfig
from codetune.errors import UserError
from codetune.methods import Adapted, load_adapter
from codetune.methods.bottleneck import bottleneck_places
from codetune.methods.low_rank import chosen_layers
from codetune.methods.targets import Targets
from codetune.models.families import targets_of
from codetune.models.load import LoadedModel, load_model
from codetune.models.outline import load_outline
from codetune.models.stages import ADAPTER_CONFIG, determined_by, read, run_of, stages_of, tuned_folder
from codetune.train.precision import loading

_KINDS = {
    "vera": "VERA", "ia3": "IA3", "ln_tuning": "LN_TUNING", "bottleneck": "BOTTLENECK", "prefix_tuning": "PREFIX_TUNING",
    "prompt_tuning": "PROMPT_TUNING", "p_tuning": "P_TUNING",
}  # fmt: skip
_SHAPE = {  # keys of recipes and of PEFT's adapter_config.json; only those that both sides have are compared
    "lora_rank": "r", "vera_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "rslora": "use_rslora",
    "dora": "use_dora", "bottleneck_size": "bottleneck_size", "num_virtual_tokens": "num_virtual_tokens",
}  # fmt: skip


def stands_on(recipe: TrainRecipe, folder: Path) -> dict[str, Any]:
    """What a run's config.json keeps of the earlier runs below it: `stages`, hashes by key of the recipe. Empty where there are none.

    Raises UserError where one of them cannot be used, or is the run itself.
    """
    if recipe.architecture is not None:
        return {}
    tuned = [*stages_of(recipe.model).adapters, Path(stages_of(recipe.model).base)]
    tuned += [tuned_folder(recipe.start)] if recipe.start is not None else []
    if any(folder.resolve() in (path.resolve(), path.resolve().parent) for path in tuned if path.is_dir()):
        raise UserError(f"{folder} is the run's own folder and a stage below it: choose another --out")
    found = determined_by(recipe.model, recipe.start)
    return {"stages": found} if found else {}


def whole_start(recipe: TrainRecipe) -> LoadedModel:
    """For full fine-tuning: the whole model that `start` has, which must have the shape of `model`."""
    assert recipe.start is not None
    outline = load_outline(recipe)
    require_fit(recipe, targets_of(outline.model))
    loaded, wanted = load_model(str(tuned_folder(recipe.start)), **loading(recipe)), outline.family
    for name in ("model_type", "num_layers", "hidden_size", "vocab_size", "kv_heads", "head_dim"):
        mine, its = getattr(wanted, name), getattr(loaded.family, name)
        if mine != its:
            raise UserError(f"start: {recipe.start} has {name} {its}, {recipe.model} has {mine}: give the model that it was tuned on")
    return loaded


def started(recipe: TrainRecipe, loaded: LoadedModel) -> Adapted:
    """The start's adapter on the model, to be trained further. Raises UserError that names the difference where it does not fit."""
    assert recipe.start is not None
    if isinstance(recipe.method, FullConfig):
        for parameter in loaded.model.parameters():
            parameter.requires_grad_(True)
        return Adapted(loaded.model, "full")
    require_fit(recipe, targets_of(loaded.model))
    folder = tuned_folder(recipe.start)
    _require_its_base(recipe, loaded, folder)
    adapted = load_adapter(loaded.model, folder, trainable=True)
    return replace(adapted, method=recipe.method.name, learning_rate_ratio=getattr(recipe.method, "learning_rate_ratio", 1.0))


def require_fit(recipe: TrainRecipe, targets: Targets) -> None:
    """Before anything is loaded: raises UserError where `start` has another kind of thing, method or shape than the recipe trains."""
    if recipe.start is None:
        return
    folder = tuned_folder(recipe.start)
    adapter, full = read(folder / ADAPTER_CONFIG), isinstance(recipe.method, FullConfig)
    if adapter and full:
        raise UserError(f"start: {recipe.start} has an adapter, and method is full: give `model: {recipe.start}` to merge it first")
    if not adapter and not full:
        raise UserError(f"start: {recipe.start} has a whole model, and method is {recipe.method.name}: give it as `model`")
    if adapter and (differs := difference(recipe.method, adapter, targets)):
        raise UserError(f"start: {recipe.start} {differs}")


def difference(method: MethodConfig, adapter: dict[str, Any], targets: Targets) -> str:
    """How an adapter is not what the method would train, in words; empty where it is."""
    kind, given = _KINDS.get(method.name, "LORA"), str(adapter.get("peft_type"))
    biases = adapter.get("bias") == "all" and adapter.get("lora_alpha") == 0  # how BitFit is saved
    if given != kind or biases != isinstance(method, BitFitConfig):
        its = "bitfit" if biases else given.lower()
        return f"was tuned by {its}, the recipe's method is {method.name}: give the same method, or it as `model`"
    settings = method.model_dump()
    if settings.get("init") == "pissa":
        rank, alpha = adapter["r"], adapter["lora_alpha"]
        return f"was saved as a LoRA, as a PiSSA is: go on with method: {{name: lora, lora_rank: {rank}, lora_alpha: {alpha:g}}}"
    for key, its in _SHAPE.items():
        if key in settings and its in adapter and settings[key] != adapter[its]:
            return f"has {key} {adapter[its]}, the recipe {settings[key]}: set method.{key}={adapter[its]}"
    wanted, found = _places(method, targets), adapter.get("target_modules")
    if wanted and isinstance(found, list) and {_leaf(name) for name in found} != {_leaf(name) for name in wanted}:
        return f"has target_modules {', '.join(sorted(found))}, the recipe {', '.join(sorted(wanted))}: set the recipe to the first"
    return ""


def _places(method: MethodConfig, targets: Targets) -> Sequence[str]:
    """Names of the layers that the method changes, where the recipe says which."""
    if isinstance(method, LoraSettings | VeraConfig):
        return chosen_layers(method.target_modules, targets)
    return bottleneck_places(method, targets) if isinstance(method, BottleneckConfig) else ()


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _require_its_base(recipe: TrainRecipe, loaded: LoadedModel, folder: Path) -> None:
    """As for opening: an adapter on another model of the same shape would fit, and start from nonsense. Plain PEFT's say no hash."""
    run = run_of(folder)
    if run is None:
        return
    before = read(run / "train.json")
    if before.get("base_format", "fp32") == loaded.weights_format and before.get("model_hash") not in (None, loaded.model_hash):
        base = read(run / "config.json").get("model")
        raise UserError(f"start: {recipe.start} was tuned on {base!r} as it was then, not on {recipe.model!r}: give that as `model`")
