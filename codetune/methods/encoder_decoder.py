"""What cannot be trained on an encoder-decoder model, and why: known from the recipe's sections alone, before anything is loaded."""

from __future__ import annotations

from codetune.config import DataConfig, LoraSettings, MethodConfig, TrainConfig

PROVED = ("full", "lora", "rslora", "dora", "pissa", "lora_plus")


def method_for_pairs(method: MethodConfig) -> str:
    """Why the method is not for an encoder-decoder model, in one line; empty where it is."""
    if isinstance(method, LoraSettings) and method.quantize != "none":
        instead = "use method lora" if method.name == "qlora" else "leave out quantize"
        return f"{method.name}: an encoder-decoder model in 4 bits has not been proved; {instead}"
    if method.name in PROVED:
        return ""
    if hasattr(method, "num_virtual_tokens"):
        return f"{method.name}: an encoder sees in both directions, so virtual tokens are no beginning of a text there; use method lora"
    return f"{method.name} has not been proved on encoder-decoder models; use one of {', '.join(PROVED)}"


def refused_for_pairs(method: MethodConfig, train: TrainConfig, data: DataConfig) -> str:
    """Why an encoder-decoder model cannot be trained so, in one line that says what to set; empty where it can."""
    if why := method_for_pairs(method):
        return why
    if train.packing != "padded":
        return (
            f"train.packing={train.packing}: an encoder sees all of its row in both directions, so an encoder-decoder model has "
            "one example to a row; set train.packing=padded"
        )
    if data.loss_on != "completion":
        return f"data.loss_on={data.loss_on}: an encoder-decoder model predicts the answer alone; set data.loss_on=completion"
    if data.infilling.rate > 0 or data.source == "corpus":
        return "plain code has no prompt for an encoder to read; choose pairs or conversations, or a decoder-only model"
    return ""
