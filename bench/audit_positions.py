"""Soft prompts under PEFT, which drops their positions, and the same rows under codetune, on a random GPT-2 of two layers in float64.

A document's truth is what stock transformers computes of it alone: the virtual tokens, then its own tokens, positions from 0.
"""

from __future__ import annotations

import warnings
from typing import Any

import peft
import torch
import transformers

from codetune.probe.forms import FORMS, VOCAB, build
from codetune.probe.subject import difference, loss_alone, loss_packed, make, texts

VIRTUAL = 5


def row_error() -> tuple[float, float]:
    """Two documents in one row: (PEFT's relative error of the second's logits, codetune's of the losses and gradients of such rows)."""
    wrapped, (first, second) = _prompt_tuned(), _documents()
    positions = torch.cat([torch.arange(len(first)), torch.arange(len(second))])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT says that it ignores them
        logits = wrapped(input_ids=torch.cat([first, second])[None], position_ids=positions[None]).logits[0]
    subject, data = make("gpt2", "prompt_tuning"), texts()
    ours = max(difference(loss_packed(subject, data), loss_alone(subject.adapted, data)))
    return _error(logits[-len(second) :], _truth(wrapped, second)), ours


def padding_error() -> float:
    """A short prompt padded to a long one's length, as generation batches them: PEFT's relative error of the short one's logits."""
    wrapped, (short, long) = _prompt_tuned(), _documents()
    width = len(long) - len(short)
    ids = torch.stack([torch.cat([torch.zeros(width, dtype=torch.long), short]), long])
    mask = torch.ones_like(ids)
    mask[0, :width] = 0
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = wrapped(input_ids=ids, attention_mask=mask).logits[0]
    return _error(logits[-len(short) :], _truth(wrapped, short))


def _documents() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(3, VOCAB, (19,), generator=torch.Generator().manual_seed(0))
    return ids[:6], ids[6:]


def _prompt_tuned() -> Any:
    """Stock transformers and stock PEFT: nothing of codetune is in it but the weights' values."""
    ours = build("gpt2")
    config = FORMS["gpt2"].config(16)
    stock = transformers.GPT2LMHeadModel(config).double().eval()
    stock.load_state_dict(ours.state_dict())
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(stock, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL))
    return wrapped.double().eval()


def _truth(wrapped: Any, document: torch.Tensor) -> torch.Tensor:
    virtual = wrapped.prompt_encoder["default"].embedding.weight
    embedded = torch.cat([virtual, wrapped.base_model.get_input_embeddings()(document)])
    with torch.no_grad():
        logits: torch.Tensor = wrapped.base_model(inputs_embeds=embedded[None]).logits[0, VIRTUAL:]
    return logits


def _error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())
