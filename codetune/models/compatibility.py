"""Which method works on which family with which feature: what `python -m codetune.probe` has found, kept with the package.

A family that was not tried is not refused; `tried` says so, and the checks of every run (docs/quality.md) say how it went.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from codetune.config import FullConfig, LoraSettings, MethodConfig, TrainConfig
from codetune.errors import UserError

TABLE = Path(__file__).parent.parent / "assets" / "compatibility.json"
ALWAYS = ("generation", "saving", "resume")  # what every run relies on
FEATURES = {
    "packing": "several texts in a row, exactly (`packing: exact`)",
    "padding": "one text in a row (`packing: padded`)",
    "checkpointing": "layers computed twice (`activation_checkpointing`)",
    "4-bit": "a frozen base in 4 bits (`quantize: nf4`)",
    "merge": "the adapter made part of the base (`codetune export`)",
    "generation": "answers in batches that are the same alone",
    "saving": "saved and loaded again, bit for bit",
    "resume": "stopped and gone on, bit for bit",
    "ddp": "several processes, the whole model in each",
    "fsdp": "several processes, the model sharded (FSDP2)",
}
Row = dict[str, str]  # feature to why it does not work, "" where it does


@cache
def table() -> dict[str, dict[str, Row]]:
    """Form to method to row; a method that the form cannot have at all has the one entry `refused`."""
    found: dict[str, dict[str, Row]] = json.loads(TABLE.read_text(encoding="utf-8"))["forms"]
    return found


def form_of(config: Any) -> str:
    """The form of a model's config: its family, or which of a family's shapes it has."""
    kind = str(config.model_type)
    if kind == "falcon":
        return "falcon-40b" if config.new_decoder_architecture else "falcon-7b"
    if kind == "llama" and (getattr(config, "num_key_value_heads", None) or config.num_attention_heads) != config.num_attention_heads:
        return "llama-grouped"
    return kind


def asked_of(method: MethodConfig, train: TrainConfig, processes: int = 1) -> tuple[str, ...]:
    """The features that a recipe's training needs."""
    wanted = {
        "packing": train.packing == "exact",
        "padding": train.packing == "padded",
        "checkpointing": train.layers_twice,
        "4-bit": isinstance(method, LoraSettings) and method.quantize == "nf4",
        train.parallel: processes > 1,
    }
    return (*(feature for feature, is_wanted in wanted.items() if is_wanted), *ALWAYS)


def refusal(config: Any, method: str, features: tuple[str, ...]) -> str:
    """Why a method with these features does not work on a model's family; "" where it does, or was not tried."""
    row = table().get(form_of(config), {}).get(method, {})
    if "refused" in row:
        return row["refused"]
    return next((f"{feature}: {reason}" for feature in features if (reason := row.get(feature, ""))), "")


def require(config: Any, method: MethodConfig, train: TrainConfig, processes: int = 1) -> None:
    """Raises UserError with the reason where a run cannot be right, before anything of the model's size is loaded."""
    if reason := refusal(config, method.name, asked_of(method, train, processes)):
        raise UserError(f"{method.name} on {config.model_type}: {reason}")


def tried(config: Any) -> bool:
    """Whether the model's family is in the table."""
    return form_of(config) in table()


def untrainable_in_four_bits(method: MethodConfig) -> str:
    """Why a method has no base in 4 bits; "" for LoRA and its relatives."""
    if isinstance(method, LoraSettings):
        moves = "PiSSA takes its start out of the base's own weights, which 4 bits cannot hold: use method qlora"
        return moves if method.init == "pissa" else ""
    if isinstance(method, FullConfig):
        return "weights in 4 bits cannot be trained: use method qlora"
    return f"a base in 4 bits is for LoRA and its relatives, {method.name} has none: use method qlora"
