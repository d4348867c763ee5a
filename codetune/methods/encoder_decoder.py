"""What cannot be trained on an encoder-decoder model, and why: known from the recipe's sections alone, before anything is loaded."""

from __future__ import annotations

from codetune.config import DataConfig, MethodConfig, TrainConfig

PROVED = ("full", "lora", "rslora", "dora", "pissa", "lora_plus")


def refused_for_pairs(method: MethodConfig, train: TrainConfig, data: DataConfig) -> str:
    """Why an encoder-decoder model cannot be trained so, in one line that says what to set; empty where it can."""
    if method.name not in PROVED:
        return f"method {method.name} is not for encoder-decoder models: {_reason(method)}; take {', '.join(PROVED[:-1])} or {PROVED[-1]}"
    if getattr(method, "quantize", "none") != "none":
        return f"method.quantize={getattr(method, 'quantize', '')} is not proved for encoder-decoder models; set method.quantize=none"
    if train.packing != "padded":
        return (
            f"train.packing={train.packing}: an encoder sees all of its row in both directions, so an encoder-decoder model has "
            "one example per row; set train.packing=padded"
        )
    if data.loss_on != "completion":
        return f"data.loss_on={data.loss_on}: an encoder-decoder model predicts the answer alone; set data.loss_on=completion"
    if data.infilling.rate > 0 or data.source == "corpus":
        return "plain code has no prompt for an encoder to read; choose pairs or conversations, or a decoder-only model"
    return ""


def _reason(method: MethodConfig) -> str:
    if hasattr(method, "num_virtual_tokens"):
        return "an encoder sees in both directions, so virtual tokens would carry what one text says to the next"
    return "it has not been proved there"
