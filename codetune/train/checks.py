"""What a training run must prove of itself: what trains moved, the rest did not, and what was saved is what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from codetune.batches import Batch, collate
from codetune.data.encode import CUT, endings
from codetune.data.tokenise import TokenisedExamples
from codetune.methods import Adapted
from codetune.models.families import Family
from codetune.models.forward import hidden_states, logits_of
from codetune.models.seq2seq import predicting_states

PROBE_EXAMPLES = 4
PROBE_TOKENS = 512  # whose logits are on the device at a time
Fingerprints = Mapping[str, int]


def fingerprints(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, int]:
    """A checksum of every tensor's bits: enough to see that one changed, without keeping a copy of a whole model."""
    return {name: _checksum(parameter.detach()) for name, parameter in parameters.items()}


def changed(before: Fingerprints, parameters: Mapping[str, torch.nn.Parameter]) -> set[str]:
    """Names whose tensors are not what they were."""
    now = fingerprints({name: parameters[name] for name in before})
    return {name for name, checksum in before.items() if now[name] != checksum}


def probe_batch(examples: TokenisedExamples) -> Batch:
    """The first few examples, on which logits are compared."""
    return collate(examples, [[(index, 0, int(examples.lengths[index]))] for index in range(min(PROBE_EXAMPLES, len(examples)))], "padded")


@torch.no_grad()
def probe_logits(adapted: Adapted, family: Family, batch: Batch) -> torch.Tensor:
    """Logits of all text tokens of the probe, [tokens, vocabulary], in main memory; of an encoder-decoder model, of the answers' tokens."""
    adapted.root.eval()
    batch = batch.to(adapted.model.device)
    if family.encoder_decoder:
        states = predicting_states(adapted.model, family, batch)[0]
    else:
        states = hidden_states(adapted, family, batch)[batch.documents > 0]
    return torch.cat([logits_of(adapted.model, some).float().cpu() for some in torch.split(states, PROBE_TOKENS)])


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference of two logits, relative to the largest logit."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))


@dataclass(frozen=True, slots=True)
class Watch:
    """Checksums of what should move and what should not, taken before training."""

    trained: Fingerprints
    frozen: Fingerprints

    @classmethod
    def over(cls, adapted: Adapted) -> Watch:
        return cls(fingerprints(adapted.trained()), fingerprints(adapted.frozen()))

    def findings(self, adapted: Adapted) -> dict[str, int]:
        """Counts for the gates: trainable tensors, those that did not move, frozen ones, those that did."""
        moved = changed(self.trained, adapted.trained())
        return {
            "trainable_tensors": len(self.trained),
            "unmoved_trainable_tensors": len(self.trained) - len(moved),
            "frozen_tensors": len(self.frozen),
            "moved_frozen_tensors": len(changed(self.frozen, adapted.frozen())),
        }


def eos_labels(examples: TokenisedExamples, eos_id: int) -> dict[str, Any]:
    """`eos_label_share`: of the documents, those whose last token is EOS and counts for the loss; `eos_label_causes`: the others, by why.

    See `data.encode.endings`. Pieces that go on do not count.
    """
    found = endings(examples.ids, examples.supervised, examples.offsets, (eos_id,))
    causes = dict(found.causes)
    if examples.continued and causes.get(CUT, 0) <= examples.continued:
        causes.pop(CUT, None)
    elif examples.continued:
        causes[CUT] -= examples.continued
    whole = found.examples - examples.continued
    share = 1 - (sum(found.causes.values()) - examples.continued) / whole if whole else 0.0
    return {"eos_label_share": share, "eos_label_causes": causes}


def _checksum(tensor: torch.Tensor) -> int:
    bits = tensor.contiguous().view(torch.uint8).flatten()
    pad = -len(bits) % 8
    words = torch.nn.functional.pad(bits, (0, pad)).view(torch.int64)
    weights = torch.arange(1, len(words) + 1, device=words.device)
    return int((words * weights).sum())  # wraps modulo 2^64, which is what a checksum wants
