"""Where a method starts, and how far training then moved what trains: evidence for what went wrong, should a run come to nothing.

Of every tensor a few thousand evenly spaced weights are kept, so that a model is never held twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from codetune.config import TrainConfig
from codetune.methods import Adapted, SoftPrompt
from codetune.train.schedule import learning_rate_share

SAMPLED = 4096  # weights of each tensor
MOSTLY = 0.5  # of a tensor's weights
CERTAIN_REACH = 4  # so many spacings within the way that the optimiser can go: even rounded at random nearly every weight has moved


@dataclass(frozen=True, slots=True)
class Start:
    """Weights of what trains, as they were before training."""

    samples: Mapping[str, torch.Tensor]  # float32, in main memory
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, adapted: Adapted) -> Start:
        """Embeddings of the model's own are left out: those of tokens that do not occur have no gradient."""
        spared = {id(p) for module in adapted.model.modules() if isinstance(module, torch.nn.Embedding) for p in module.parameters()}
        chosen = {name: parameter for name, parameter in adapted.trained().items() if id(parameter) not in spared}
        return cls({name: _sample(parameter) for name, parameter in chosen.items()}, {name: p.numel() for name, p in chosen.items()})

    def movement(self, adapted: Adapted, way: float) -> dict[str, Any]:
        """What a diagnosis asks of trained weights; `way` is the sum of the learning rates, which Adam's steps hardly exceed.

        `weights_moved_share`: of the weights, those that are not what they were. `weights_within_reach_share`: those whose neighbours in
        their dtype are near enough that so many steps must have moved them. `relative_movement`: root mean square of the changes, over
        that of the weights. `unmoved_within_reach`: the first few tensors that did not move at all, though most of their
        weights are within reach. Empty where nothing was sampled.
        """
        now = {name: parameter for name, parameter in adapted.trained().items() if name in self.samples}
        total = sum(self.sizes[name] for name in now)
        if not total:
            return {}
        moved = reach = change = before = after = 0.0
        unmoved = []
        for name, parameter in now.items():
            old, new, weight = self.samples[name], _sample(parameter), self.sizes[name] / total
            moved += weight * float((old != new).float().mean())
            near = float((CERTAIN_REACH * spacing(old, parameter.dtype) <= way).float().mean())
            reach += weight * near
            change, before, after = (
                sum_ + weight * float(part.double().square().mean()) for sum_, part in ((change, new - old), (before, old), (after, new))
            )
            if torch.equal(old, new) and near > MOSTLY:
                unmoved.append(name)
        return {
            "weights_moved_share": moved, "weights_within_reach_share": reach, "learning_rate_sum": way,
            "relative_movement": (change / max(before, after, 1e-60)) ** 0.5,
            "trained_dtype": str(next(iter(now.values())).dtype).removeprefix("torch."), "unmoved_within_reach": unmoved[:5],
        }  # fmt: skip


def spacing(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """How far the next number is in a dtype.

    >>> spacing(torch.tensor([1.0, 0.02]), torch.bfloat16)
    tensor([7.8125e-03, 1.2207e-04])
    """
    facts = torch.finfo(dtype)
    return torch.exp2(torch.floor(torch.log2(values.abs().clamp_min(facts.tiny)))) * facts.eps


def way_of(config: TrainConfig, learning_rate: float, taken: int, steps: int) -> float:
    """The sum of the learning rates of the first `taken` of `steps`."""
    return learning_rate * sum(learning_rate_share(config, step, steps) for step in range(taken))


@torch.no_grad()
def start_scale(adapted: Adapted) -> float | None:
    """Of virtual tokens before the text's embeddings: their root mean square over that of the model's own. None for other methods."""
    if adapted.soft_prompt is not SoftPrompt.EMBEDDINGS:
        return None
    own, virtual = adapted.model.get_input_embeddings().weight, adapted.virtual_embeddings()
    return float(virtual.float().square().mean().sqrt() / own.float().square().mean().sqrt().clamp_min(1e-30))


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    flat = parameter.detach().flatten()
    return flat[:: -(-len(flat) // SAMPLED)].to("cpu", torch.float32, copy=True)
