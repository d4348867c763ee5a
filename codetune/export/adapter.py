"""An adapter in the layout that PEFT and vLLM load, with the name of its base that holds elsewhere, too."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import safetensors

from codetune.errors import UserError
from codetune.export.card import write_card
from codetune.export.tuned import Tuned
from codetune.export.vllm import command, objections
from codetune.models.names import resolve
from codetune.models.stages import ADAPTER_CONFIG, read, stages_of
from codetune.runs import whole_folder, write_json

WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class AdapterExport:
    """What was written, and whether vLLM would load it: `vllm_objections` says why not, `vllm_command` how."""

    folder: Path
    base: str
    vllm_objections: list[str]
    vllm_command: str


def export_adapter(tuned: Tuned, out: Path, base: str | None = None) -> AdapterExport:
    """Write the adapter and its card into `out`. Raises UserError for what is no adapter, or whose base nobody could load."""
    if tuned.whole:
        raise UserError(f"{tuned.given} has a whole model, no adapter: export it with --to merged")
    config, place = read(tuned.folder / ADAPTER_CONFIG), base_place(tuned, base)
    config |= {"base_model_name_or_path": place, "inference_mode": True}
    if float(config.get("lora_alpha") or 0).is_integer() and config.get("lora_alpha"):
        config["lora_alpha"] = int(config["lora_alpha"])  # as PEFT and vLLM declare it
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()  # PEFT writes a set
    against = objections(config, tensor_names(tuned.folder), model_type_of(place))
    with whole_folder(out) as folder:
        write_json(folder / ADAPTER_CONFIG, config)
        shutil.copyfile(tuned.folder / WEIGHTS, folder / WEIGHTS)
        write_card(tuned, folder, base or tuned.base)
    return AdapterExport(out, place, against, "" if against else command(place, tuned.name, str(out), config["r"]))


def tensor_names(folder: Path) -> list[str]:
    """Of an adapter's weights. Raises UserError where they cannot be read."""
    try:
        with safetensors.safe_open(folder / WEIGHTS, "np") as file:
            return list(file.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"cannot read {folder / WEIGHTS}: {error}") from None


def base_place(tuned: Tuned, base: str | None) -> str:
    """The hub id or folder that the adapter goes on. Raises UserError where that is an earlier run, which is no model to others."""
    name = base or tuned.base
    if stages_of(name).adapters:
        raise UserError(
            f"{tuned.given} was tuned on the run {name}, which only codetune opens: codetune export {name} --to merged --out DIR, then "
            "--base DIR; or export this one with --to merged"
        )
    return resolve(stages_of(name).base)


def model_type_of(place: str) -> str:
    """The family as the base's config says it; "" where that is not on this machine."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(place).is_dir():
        return str(read(Path(place) / "config.json").get("model_type", ""))
    try:
        cached = try_to_load_from_cache(place, "config.json")
    except HFValidationError:
        return ""
    return str(read(Path(cached)).get("model_type", "")) if isinstance(cached, str) else ""
