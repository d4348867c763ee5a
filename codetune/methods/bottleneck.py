"""Bottleneck adapters (Houlsby et al. 2019; Pfeiffer et al. 2021), which PEFT does not have, as a tuner of PEFT's kind.

They are saved and loaded by `save_pretrained` and `PeftModel.from_pretrained` like any other, but only where `codetune.methods` has
been imported: plain PEFT does not know their type, `BOTTLENECK`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from codetune.config import BottleneckConfig
from codetune.methods.silent import peft
from codetune.methods.targets import Targets

PEFT_TYPE = "BOTTLENECK"
PREFIX = "bottleneck_"


@dataclass
class PeftBottleneckConfig(peft.PeftConfig):  # type: ignore[misc]  # PEFT is not typed
    """What `adapter_config.json` has of it."""

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    bottleneck_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE


class BottleneckLayer(torch.nn.Module, peft.tuners.tuners_utils.BaseTunerLayer):  # type: ignore[misc]
    """A linear layer whose output y becomes y + up(gelu(down(y))). `up` starts at 0, so that nothing changes before training."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    get_base_layer: Any  # these four are PEFT's
    set_adapter: Any
    active_adapters: Any
    _move_adapter_to_device_of_base_layer: Any

    def __init__(self, base_layer: torch.nn.Module, adapter_name: str, config: PeftBottleneckConfig) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        self.bottleneck_down: Any = torch.nn.ModuleDict()
        self.bottleneck_up: Any = torch.nn.ModuleDict()
        self.merged_adapters: list[str] = []
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: PeftBottleneckConfig) -> None:
        """Give the layer an adapter of this name."""
        _, width = peft.tuners.tuners_utils._get_in_out_features(self.get_base_layer())
        self.bottleneck_down[adapter_name] = torch.nn.Linear(width, config.bottleneck_size)
        up = torch.nn.Linear(config.bottleneck_size, width)
        torch.nn.init.zeros_(up.weight)
        torch.nn.init.zeros_(up.bias)
        self.bottleneck_up[adapter_name] = up
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(adapter_name, inference_mode=config.inference_mode)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out: torch.Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return out
        dtype = out.dtype
        for name in self.active_adapters:
            if name in self.bottleneck_down:
                down, up = self.bottleneck_down[name], self.bottleneck_up[name]
                out = out + up(torch.nn.functional.gelu(down(out.to(down.weight.dtype))))
        return out.to(dtype)


class BottleneckModel(peft.tuners.tuners_utils.BaseTuner):  # type: ignore[misc]
    """Puts the layers in."""

    prefix = PREFIX
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: ClassVar[dict[str, Any]] = {}

    def _create_and_replace(
        self, peft_config: Any, adapter_name: str, target: Any, target_name: str, parent: Any, current_key: str, **kwargs: Any
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target, adapter_name, peft_config)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise ValueError("bottleneck adapters have a function between their matrices: they cannot be merged into a linear layer")


def bottleneck_config(method: BottleneckConfig, targets: Targets) -> PeftBottleneckConfig:
    """Behind the layers that write into the residual stream: attention's and the MLP's, or the MLP's alone."""
    return PeftBottleneckConfig(
        task_type="CAUSAL_LM", target_modules=[*bottleneck_places(method, targets)], bottleneck_size=method.bottleneck_size
    )


def bottleneck_places(method: BottleneckConfig, targets: Targets) -> tuple[str, ...]:
    """Suffixes of the layers that get a bottleneck."""
    return targets.mlp_output if method.placement == "pfeiffer" else (*targets.attention_output, *targets.mlp_output)


# PEFT's register_peft_method takes the members of its own enum alone; its tables take any string.
peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING[PEFT_TYPE] = PeftBottleneckConfig
peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING[PEFT_TYPE] = BottleneckModel
peft.mapping.PEFT_TYPE_TO_PREFIX_MAPPING[PEFT_TYPE] = PREFIX
