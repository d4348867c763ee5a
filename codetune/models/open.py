"""Open a model to answer with: by name, with an adapter, a fully tuned model or a whole run folder on top of it."""

from __future__ import annotations

from pathlib import Path

from codetune.config import Precision, Quantize
from codetune.errors import UserError
from codetune.methods import Adapted, load_adapter
from codetune.models.load import LoadedModel, load_model
from codetune.models.machine import device
from codetune.models.merge import DTYPES
from codetune.models.stages import read, tuned_folder, unmergeable


def open_model(
    name: str, tuned: Path | None = None, precision: Precision = "fp32", on: str = "auto", quantize: Quantize | None = None
) -> tuple[LoadedModel, Adapted]:
    """The model called `name`, tuned as `tuned` says, on a device by name.

    `tuned` is a PEFT adapter, a whole tuned model (full fine-tuning), or a run folder that holds either as `adapter/`. A whole model
    takes the place of `name`. A run folder as `name` is that run's model, merged where it can be, else with its virtual tokens. Without
    `quantize` the base of a run's adapter is in 4 bits where it was in the training, and no other model is. Raises UserError in one line
    where there is nothing to open, or the adapter is another model's.
    """
    if tuned is None and (found := unmergeable(name)):
        name, tuned = found
    folder = None if tuned is None else tuned_folder(tuned)
    if folder is not None and (folder / "config.json").exists():
        loaded = load_model(str(folder), DTYPES[precision], device(on), quantize or "none")
        return loaded, Adapted(loaded.model, "full")
    trained_on = "fp32" if folder is None else read(folder.parent / "train.json").get("base_format", "fp32")
    quantize = quantize or ("nf4" if trained_on.startswith("nf4") else "none")
    loaded = load_model(name, DTYPES[precision], device(on), quantize)
    if folder is None:
        return loaded, Adapted(loaded.model, "base")
    if trained_on == loaded.weights_format:  # a hash is over the weights as they are loaded
        require_its_base(loaded, folder)
    return loaded, load_adapter(loaded.model, folder)


def trained_prompt_style(folder: Path) -> str | None:
    """The prompt style that a run folder, or its `adapter/`, was trained with; None where nothing says so."""
    for config in (folder / "config.json", folder.parent / "config.json"):
        data = read(config).get("data")
        if isinstance(data, dict) and isinstance(data.get("prompt_style"), str):
            return str(data["prompt_style"])
    return None


def require_its_base(loaded: LoadedModel, adapter: Path) -> None:
    """An adapter on another model of the same shape would fit, and answer nonsense."""
    wanted = read(adapter.parent / "train.json").get("model_hash")
    if wanted not in (None, loaded.model_hash):
        base = read(adapter.parent / "config.json").get("model")
        raise UserError(f"the adapter in {adapter} was tuned on {base!r} as it was then, not on {loaded.name!r}: give that model's folder")
