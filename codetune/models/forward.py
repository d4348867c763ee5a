"""The one forward pass: hidden states of packed rows under any method, exact for soft prompts, and the loss on them."""

from __future__ import annotations

from typing import Any

import torch

from codetune.batches import IGNORED, TARGET_STEP, Batch, attention_mask, end_to_end
from codetune.methods import Adapted, SoftPrompt
from codetune.models.attention import DOCUMENTS, LAYOUT, layout_of, uneven
from codetune.models.checkpointing import PrefixCache, in_checkpoint
from codetune.models.compiled import is_compiled
from codetune.models.families import Family
from codetune.models.fast.gpu_attention import PACKED, packed_of
from codetune.models.fast.gpu_loss import fused_loss
from codetune.models.fast.loss import CutCrossEntropy, own_head
from codetune.models.fast.model import is_fast
from codetune.models.fast.numbers import applied
from codetune.models.seq2seq import predicting_states

LOSS_CHUNK_TOKENS = 4096


def hidden_states(adapted: Adapted, family: Family, batch: Batch) -> torch.Tensor:
    """The decoder's last hidden states of the text, [rows, tokens, hidden size]; virtual tokens are left out."""
    decoder = getattr(adapted.model, adapted.model.base_model_prefix)
    virtual, soft = adapted.num_virtual_tokens, adapted.soft_prompt
    masked = attention_inputs(adapted, family, batch)
    positions = batch.positions + virtual
    if soft is SoftPrompt.EMBEDDINGS:
        rows = batch.input_ids.shape[0]
        text = adapted.model.get_input_embeddings()(batch.input_ids)
        prompt = adapted.virtual_embeddings().to(text.dtype).expand(rows, -1, -1)
        first = torch.arange(virtual, device=positions.device).expand(rows, -1)
        positions = torch.cat([first, positions], dim=1)
        out = decoder(inputs_embeds=torch.cat([prompt, text], dim=1), position_ids=positions, use_cache=False, **masked)
    else:
        cache = prefix_cache(adapted, family, batch.input_ids.shape[0]) if soft is SoftPrompt.KEYS_VALUES else None
        out = decoder(input_ids=batch.input_ids, position_ids=positions, past_key_values=cache, use_cache=cache is not None, **masked)
    last: torch.Tensor = out.last_hidden_state
    return last[:, -batch.input_ids.shape[1] :]


def attention_inputs(adapted: Adapted, family: Family, batch: Batch) -> dict[str, Any]:
    """What keeps documents apart: their layout where the model's attention takes one, else the dense mask."""
    virtual, queries = adapted.num_virtual_tokens, adapted.soft_prompt is SoftPrompt.EMBEDDINGS
    taken, window = adapted.model.config._attn_implementation, family.sliding_window
    layout: Any = packed_of(adapted.model, family, batch, virtual, queries, compute_dtype(adapted.model)) if taken == PACKED else None
    if layout is None and _by_document(adapted, family, batch):
        layout = layout_of(batch, virtual, is_fast(adapted.model) and not is_compiled(adapted.model))
    if layout is not None:
        # A mask of four dimensions keeps transformers from making one; attention that takes layouts does not look at it.
        return {"attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=batch.input_ids.device), LAYOUT: layout}
    mask = attention_mask(batch, virtual, queries, window)
    return {"attention_mask": as_taken(mask, adapted.model)}


def _by_document(adapted: Adapted, family: Family, batch: Batch) -> bool:
    """Whether attention is computed document by document. The dense mask is taken where it is far less work (`attention.uneven`), and
    where a sliding window is shorter than a document, which a layout for matrix products cannot express; those for a GPU's kernels can.
    """
    virtual, window = adapted.num_virtual_tokens, family.sliding_window
    if adapted.model.config._attn_implementation not in (DOCUMENTS, PACKED) or uneven(batch, virtual):
        return False
    return window is None or batch.places.shape[1] + virtual <= window


def as_run(adapted: Adapted, family: Family, batch: Batch) -> Batch:
    """The batch as the model's loss is computed on it: by the faster computation on a CPU its rows are run end to end, with one copy of
    the virtual tokens and no padding. On a GPU rows stay as they are, since shapes that repeat are worth more there.
    """
    taken, several = adapted.model.config._attn_implementation, len(batch.input_ids) > 1 and not family.encoder_decoder
    joined = several and taken == DOCUMENTS and is_fast(adapted.model) and _by_document(adapted, family, batch)
    return end_to_end(batch) if joined else batch


def as_taken(mask: torch.Tensor, model: Any) -> torch.Tensor:
    """A boolean mask as the model's attention takes it: as it is, or, by CodeGen's, as numbers that are added to the scores."""
    if model.config._attn_implementation != "eager":
        return mask
    dtype = compute_dtype(model)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def prefix_cache(adapted: Adapted, family: Family, rows: int) -> PrefixCache:
    """Prefix-tuning's keys and values as a cache for `rows` rows. Without the model's config, so that no window drops any."""
    dtype = compute_dtype(adapted.model)
    layers = adapted.virtual_keys_values(family.kv_heads)
    return PrefixCache([(key.to(dtype).expand(rows, -1, -1, -1), value.to(dtype).expand(rows, -1, -1, -1)) for key, value in layers])


def compute_dtype(model: Any) -> torch.dtype:
    """The dtype that attention runs in: autocast's where it is on, else the weights'."""
    device = model.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else model.dtype


def logits_of(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The LM head on hidden states, with the scalings that some families put before or after it."""
    config = model.config
    if getattr(config, "scale_decoder_outputs", False):  # T5 with a tied head
        hidden = hidden * model.model_dim**-0.5
    logits: torch.Tensor = model.get_output_embeddings()(hidden)
    if (bias := getattr(model, "final_logits_bias", None)) is not None:  # PLBART
        logits = logits + bias
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if divisor := getattr(config, "logits_scaling", None):
        logits = logits / divisor
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    return logits


def summed_loss(adapted: Adapted, family: Family, batch: Batch) -> torch.Tensor:
    """Cross-entropy summed over the batch's targets (divide by their number for the mean). Logits exist for targets alone."""
    if family.encoder_decoder:
        hidden, labels = predicting_states(adapted.model, family, batch)
        # Rounded up in number, like widths: what is added has a label that cross-entropy leaves out.
        missing = -len(labels) % TARGET_STEP
        places = torch.nn.functional.pad(torch.arange(len(labels), device=labels.device), (0, missing))
        labels = torch.nn.functional.pad(labels, (0, missing), value=IGNORED)
    else:
        hidden = hidden_states(adapted, family, batch).flatten(0, 1)
        places, labels = batch.predicted - 1, batch.labels
    if is_fast(adapted.model):
        predicting = hidden.index_select(0, places)
        if (fused := fused_loss(adapted.model, predicting, labels)) is not None:
            return fused
        if (head := own_head(adapted.model)) is not None and head.bias is None:
            return applied(CutCrossEntropy, predicting, head.weight, labels)
    total = hidden.new_zeros((), dtype=torch.float32 if hidden.dtype != torch.float64 else torch.float64)
    for start in range(0, len(labels), LOSS_CHUNK_TOKENS):
        part = slice(start, start + LOSS_CHUNK_TOKENS)
        total = total + in_checkpoint(adapted.model, _chunk_loss, adapted.model, hidden[places[part]], labels[part], total.dtype)
    return total


def _chunk_loss(model: Any, hidden: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    logits = logits_of(model, hidden).to(dtype)
    return torch.nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)
