"""What vLLM loads as a LoRA adapter, by the rules of its loader (vllm/lora: PEFTHelper, LoRAModel.from_local_checkpoint).

Read in its source (0.26), not run here: vLLM needs a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable

from codetune.records import Json

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what `--max-lora-rank` may be
# Of the families that codetune knows, those whose vLLM model has no LoRA; they are served merged.
WITHOUT_LORA = {"gpt2", "falcon", "gpt_neox", "starcoder2", "codegen"}


def objections(config: Json, tensors: Iterable[str], model_type: str) -> list[str]:
    """Why vLLM would not load an adapter, each in words; empty where it would."""
    if config.get("peft_type") != "LORA":
        return [f"it serves LoRA adapters only, not {str(config.get('peft_type')).lower()}"]
    found = []
    if config.get("use_dora"):
        found.append("it has no DoRA")
    if config.get("modules_to_save"):
        found.append("it takes no modules_to_save")
    if config.get("bias", "none") != "none":
        found.append("it takes no biases")
    if config["r"] > RANKS[-1]:
        found.append(f"its largest rank is {RANKS[-1]}, this one's is {config['r']}")
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        found.append("it scales every layer by one rank and one alpha")
    if unknown := sorted(name for name in tensors if not is_lora_name(name)):
        found.append(f"it does not know tensors such as {unknown[0]}")
    if model_type in WITHOUT_LORA:
        found.append(f"its {model_type} models take no LoRA")
    return found


def is_lora_name(name: str) -> bool:
    """`base_model.model.<module>.lora_A.weight`, or lora_B."""
    *module, matrix, kind = name.split(".")
    return module[:2] == ["base_model", "model"] and len(module) > 2 and matrix in ("lora_A", "lora_B") and kind == "weight"


def command(base: str, name: str, folder: str, rank: int) -> str:
    """The line that serves the adapter."""
    return f"vllm serve {base} --enable-lora --max-lora-rank {room(rank)} --lora-modules {name}={folder}"


def room(rank: int) -> int:
    """The `--max-lora-rank` for adapters of this rank."""
    return next(size for size in RANKS if size >= rank)
