"""Which methods a model cannot have, and why: known from its shape, before any weight is loaded."""

from __future__ import annotations

from codetune.config import BitFitConfig, BottleneckConfig, Ia3Config, LnTuningConfig, MethodConfig
from codetune.methods.bottleneck import bottleneck_places
from codetune.methods.encoder_decoder import method_for_pairs
from codetune.methods.targets import Targets


def refusal(method: MethodConfig, targets: Targets) -> str:
    """Why the model cannot be tuned so, in one line that names a method that would do; empty where it can."""
    if targets.encoder_decoder and (why := method_for_pairs(method)):
        return why
    match method:
        case BitFitConfig() if not targets.has_biases:
            instead = "ln_tuning" if targets.norms else "lora"
            return f"bitfit trains biases, and this model's linear layers have none; {instead} is as small: use method {instead}"
        case LnTuningConfig() if not targets.norms:
            return "ln_tuning trains the weights of norms, and this model's norms have none: use method lora"
        case Ia3Config() if not (targets.ia3 and targets.ia3_feedforward):
            return "ia3 scales keys, values and the MLP's last input, and which layers make them is not known here: use method vera or lora"
        case BottleneckConfig() if not bottleneck_places(method, targets):
            return "bottleneck adapters stand behind the layers that write into the stream, which are not known here: use method lora"
    return ""
