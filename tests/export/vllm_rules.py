"""vLLM's rules for a LoRA folder, written down anew from its loader (vllm/lora/peft_helper.py, lora_model.py, utils.py of 0.26)."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors

MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def load_as_vllm(folder: Path, linear_layers: list[str], max_lora_rank: int) -> tuple[dict[str, set[str]], float]:
    """(matrices by module, scaling), or ValueError as vLLM raises it. `linear_layers` are the leaf names of the base's."""
    config = json.loads((folder / "adapter_config.json").read_text())
    missing = {"r", "lora_alpha", "target_modules"} - config.keys()
    if missing:
        raise ValueError(f"Missing required configuration fields: {missing}")
    if max_lora_rank not in MAX_LORA_RANKS:
        raise ValueError(f"max_lora_rank {max_lora_rank}")
    if config.get("modules_to_save"):
        raise ValueError("vLLM only supports modules_to_save being None.")
    if config.get("use_dora"):
        raise ValueError("vLLM does not yet support DoRA.")
    if config["r"] > max_lora_rank:
        raise ValueError(f"LoRA rank {config['r']} is greater than max_lora_rank {max_lora_rank}.")
    if config.get("bias", "none") != "none":
        raise ValueError("Adapter bias is not supported.")
    modules: dict[str, set[str]] = {}
    with safetensors.safe_open(folder / "adapter_model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118
            module, matrix = _parsed(name)
            if module.split(".")[-1] not in linear_layers:
                raise ValueError(f"expected target modules in {linear_layers} but received {module}")
            shape = file.get_slice(name).get_shape()
            if shape[0 if matrix == "lora_A" else 1] != config["r"]:
                raise ValueError(f"{name} has another rank than {config['r']}")  # vLLM would load it, at a wrong scale
            modules.setdefault(module, set()).add(matrix)
    root = config["r"] ** 0.5 if config.get("use_rslora") else config["r"]
    return modules, config["lora_alpha"] / root


def _parsed(name: str) -> tuple[str, str]:
    parts = name.split(".")
    start = 2 if name.startswith("base_model.model.") else 0
    if parts[-1] == "weight" and parts[-2] in ("lora_A", "lora_B"):
        return ".".join(parts[start:-2]), parts[-2]
    raise ValueError(f"{name} is unsupported LoRA weight")
