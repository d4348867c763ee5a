"""Tuning in stages: what a model's name stands for where it names an earlier run, and hashes of what runs made.

A run folder, or an adapter, is a model: its base with the adapter merged in. The base may be a run again. Nothing here needs torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetune.config import content_hash
from codetune.errors import UserError

ADAPTER = "adapter"  # where a run folder has what was tuned
ADAPTER_CONFIG = "adapter_config.json"
# PEFT types that end up inside the model's own weights; virtual tokens and networks of their own cannot.
MERGEABLE = {"LORA", "ADALORA", "LOHA", "LOKR", "OFT", "BOFT", "IA3", "VERA", "LN_TUNING"}
_ENDS = 1 << 20


@dataclass(frozen=True, slots=True)
class Stages:
    """A whole model by name, and the adapters that are merged into it, the earliest first."""

    base: str
    adapters: tuple[Path, ...] = ()


def stages_of(name: str) -> Stages:
    """The base and the adapters that a model's name stands for; a name that is no run's is a base itself.

    Raises UserError for a run that is not finished, cannot be merged, goes in a circle, or whose base is gone.
    """
    return _below(name, ())


def unmergeable(name: str) -> tuple[str, Path] | None:
    """(base, adapter) of a run that tuned what cannot be merged, virtual tokens say; None for every other name."""
    folder = _tuned_in(Path(name))
    if folder is None or not (folder / ADAPTER_CONFIG).exists() or can_merge(folder):
        return None
    return base_of(folder), folder


def tuned_folder(given: Path) -> Path:
    """The folder with the adapter or the whole model: the given one, or `adapter/` in a run folder. Raises UserError without either."""
    if not given.is_dir():
        raise UserError(f"no adapter in {given}: there is no such folder; give the one that `codetune train` wrote")
    folder = _tuned_in(given)
    if folder is None:
        raise UserError(f"no adapter in {given}: neither adapter/, adapter_config.json nor a model's config.json is there")
    return folder


def run_of(folder: Path) -> Path | None:
    """The run folder that an adapter's folder belongs to: the one above, where that has a recipe."""
    above = folder.resolve().parent
    return above if folder.name == ADAPTER and {"model", "method"} <= read(above / "config.json").keys() else None


def base_of(folder: Path) -> str:
    """The model that an adapter was tuned on, by name: as the run's recipe has it, else as the adapter says. Raises UserError."""
    run = run_of(folder)
    recorded = read(run / "config.json") if run else {}
    base = recorded.get("model") or read(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise UserError(f"the adapter in {folder} does not say which model it was tuned on: give --model with it")
    if Path(base).is_dir():
        return base
    if run is not None:  # a relative name, and a working folder other than the training's
        for above in run.parents:
            if (above / base).is_dir():
                return str(above / base)
    if "model" in recorded.get("stages", {}) or Path(base).is_absolute():
        raise UserError(f"{run or folder} was tuned on {base}, which is not there: put that folder back where it was")
    return base


def can_merge(folder: Path) -> bool:
    return read(folder / ADAPTER_CONFIG).get("peft_type") in MERGEABLE


def method_of(folder: Path) -> str:
    """The name of the method that an adapter was tuned by, for messages."""
    run = run_of(folder)
    named = read(run / "config.json").get("method", {}).get("name") if run else None
    return str(named or read(folder / ADAPTER_CONFIG).get("peft_type", "full")).lower()


def tuned_hash(folder: Path) -> str:
    """A hash of an adapter's settings and all its weights, or `model_files_hash` of a whole model. Where it lies does not count."""
    settings = read(folder / ADAPTER_CONFIG)
    if not settings:
        return model_files_hash(folder)
    settings.pop("base_model_name_or_path", None)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def model_files_hash(folder: Path) -> str:
    """A hash of a model's files: sizes, and the first and last megabyte of each."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(f"{path.name}{path.stat().st_size}".encode() + file.read(_ENDS))
            file.seek(max(0, path.stat().st_size - _ENDS))
            digest.update(file.read())
    return digest.hexdigest()[:16]


def staged_hash(base: str, adapters: tuple[Path, ...]) -> str:
    """The hash of a base with adapters merged in: of what went in, so that it does not hang on the rounding of a machine."""
    return content_hash([base, *map(tuned_hash, adapters)]) if adapters else base


def determined_by(model: str, start: Path | None) -> dict[str, str]:
    """Hashes of what earlier runs a new one stands on: `model` where that is a run, `start`. Empty where it stands on none."""
    stages = stages_of(model)
    base = model_files_hash(Path(stages.base)) if Path(stages.base).is_dir() else stages.base
    found = {} if stages == Stages(model) else {"model": staged_hash(base, stages.adapters)}
    return found | ({} if start is None else {"start": tuned_hash(tuned_folder(start))})


def read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file has none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _below(name: str, above: tuple[Path, ...]) -> Stages:
    folder = _tuned_in(Path(name))
    if folder is None:
        return Stages(name)
    if not (folder / ADAPTER_CONFIG).exists():
        return Stages(str(folder) if folder != Path(name) else name)
    if folder.resolve() in above:
        raise UserError(f"{name} is a stage of itself: the models of its runs go in a circle; give a run whose base is a model")
    base = base_of(folder)
    if not can_merge(folder):
        raise UserError(
            f"{name} was tuned by {method_of(folder)}, which cannot be merged into a model's weights: to train it further give "
            f"`model: {base}` and `start: {name}`, to answer with it --model {base} --adapter {name}"
        )
    below = _below(base, (*above, folder.resolve()))
    return Stages(below.base, (*below.adapters, folder))


def _tuned_in(given: Path) -> Path | None:
    """Where a folder has an adapter or a whole model; None where it has neither. Raises UserError for a run that is not finished."""
    if not given.is_dir():
        return None
    inner = given / ADAPTER
    if inner.is_dir():
        return inner
    if (given / ADAPTER_CONFIG).exists() or "model_type" in read(given / "config.json"):
        return given
    if (given / "checkpoint").is_dir():
        raise UserError(f"the run in {given} is not finished: run the same `codetune train` again, it goes on where it stopped")
    return None
