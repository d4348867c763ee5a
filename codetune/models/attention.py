"""Attention of packed rows, one document at a time: the same numbers as with the dense mask, at a fraction of the work.

A dense mask makes every row of T tokens cost T x T, most of it masked away. Here the documents of all rows become the batch of one causal
attention as wide as the longest of them. It stands behind transformers' attention interface; calls without a `Layout` are plain SDPA.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from codetune.batches import Batch
from codetune.models.fast.attention import DocumentAttention, Moves
from codetune.models.fast.numbers import applied

DOCUMENTS = "codetune_documents"
PROVED = ("gpt2", "gpt_bigcode", "llama", "mistral", "qwen2", "qwen3", "gemma", "granite", "starcoder2", "phi", "phi3", "gpt_neox")
fused_kernels: ContextVar[bool] = ContextVar("fused_kernels", default=False)  # on the CPU, too: set where a GPU's memory is forecast
LAYOUT = "document_layout"  # the keyword that carries a Layout through the decoder's layers
BLOCKS = "row_blocks"  # and that of rows which see so many columns and no more, where tokens are generated
MOST_WORK = 2  # times the dense mask's, which SDPA does about as fast; on one CPU core the two cross between 1 and 2


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the documents of a batch are; padding belongs to none.

    `places` [documents, width] are indices into rows x tokens of the text (0 behind a document's end); `row` [documents] is each
    document's row; `back` [rows x tokens] is each token's index in documents x width (0 for padding, whose output nobody reads).
    """

    places: torch.Tensor
    row: torch.Tensor
    back: torch.Tensor
    virtual: int
    moves: Moves | None = None  # for the faster attention, where the model has it


def use_document_attention(model: Any) -> None:
    """Let the model's attention take layouts, in families where the tests prove that they arrive."""
    if model.config.model_type in PROVED:
        model.set_attn_implementation(DOCUMENTS)


def layout_of(batch: Batch, virtual: int, fast: bool = False) -> Layout:
    """Where the batch's documents are, after so many virtual tokens in each row. `fast`: for the faster attention, which a CPU has."""
    moves = None
    if fast and batch.places.device.type == "cpu" and not fused_kernels.get():
        moves = Moves.of(batch.places, batch.row, batch.back, batch.input_ids.shape[0])
    return Layout(batch.places, batch.row, batch.back, virtual, moves)


def uneven(batch: Batch, virtual: int) -> bool:
    """Whether the batch's documents, each as wide as the longest, are over twice the dense mask's work and memory.

    So it is with one long document among many short ones. Shapes alone decide, as in a forecast.
    """
    documents, width = batch.places.shape
    rows, tokens = batch.input_ids.shape
    return documents * width * (virtual + width) > MOST_WORK * rows * tokens * (virtual + tokens)


def document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Behind transformers' attention interface: [rows, heads, tokens, head dim] in, [rows, tokens, heads, head dim] out."""
    layout: Layout | None = kwargs.pop(LAYOUT, None)
    blocks: Sequence[tuple[int, int, int]] | None = kwargs.pop(BLOCKS, None)
    if blocks is not None and attention_mask is not None:
        parts = [
            sdpa_attention_forward(
                module, query[rows], key[rows, :, :end], value[rows, :, :end], attention_mask[rows, ..., :end], scaling=scaling, **kwargs
            )[0]
            for rows, end in ((slice(first, stop), end) for first, stop, end in blocks)
        ]
        return torch.cat(parts), None
    if layout is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return plain
    virtual = layout.virtual
    leading = query.shape[2] - (key.shape[2] - virtual)  # virtual tokens that are queries too: prompt-tuning's, or none
    text = _text(query[:, :, leading:], key, value, layout, scaling)
    if not leading:
        return text, None
    first, theirs, worth = (states[:, :, :leading] for states in (query, key, value))
    prompt = _attend(first, theirs, worth, _causal_after(0, leading, query.device), scaling)
    return torch.cat([prompt.transpose(1, 2), text], dim=1), None


def _text(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scaling: float | None) -> torch.Tensor:
    """The attention of all text, [rows, tokens, heads, head dim]."""
    if layout.moves is not None:
        return applied(DocumentAttention, query, key, value, layout.moves, layout.virtual, scaling or query.shape[-1] ** -0.5)
    mask = _causal_after(layout.virtual, layout.places.shape[1], query.device)
    out = _attend(_by_document(query, layout), _with_virtual(key, layout), _with_virtual(value, layout), mask, scaling)
    return out.transpose(1, 2).flatten(0, 1)[layout.back].view(query.shape[0], -1, query.shape[1], value.shape[-1])


def _attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """SDPA on a GPU; on a CPU plain matrix products, as the backward pass of SDPA's kernel there is several times slower.

    Grouped keys are spread over all heads first: of SDPA's fused kernels none takes both groups and a mask.
    """
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
    if queries.device.type != "cpu" or forecast_of_a_gpu():
        return scaled_dot_product_attention(queries, keys, values, mask, scale=scaling)
    scores = (queries * (scaling or queries.shape[-1] ** -0.5)) @ keys.transpose(-1, -2)
    return scores.masked_fill(~mask, -torch.inf).softmax(-1).to(values.dtype) @ values


def forecast_of_a_gpu() -> bool:
    """Whether a GPU's memory is forecast on the CPU. Nothing compiled is: a compiler can look at no context variable."""
    return not torch.compiler.is_compiling() and fused_kernels.get()


def _by_document(states: torch.Tensor, layout: Layout) -> torch.Tensor:
    """[rows, heads, tokens, head dim] as [documents, heads, width, head dim]."""
    return states.transpose(1, 2).flatten(0, 1)[layout.places].transpose(1, 2)


def _with_virtual(states: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Each document's keys (or values) after those of its row's virtual tokens."""
    text = _by_document(states[:, :, layout.virtual :], layout)
    return torch.cat([states[layout.row, :, : layout.virtual], text], dim=2) if layout.virtual else text


def _causal_after(virtual: int, width: int, device: torch.device) -> torch.Tensor:
    """Every query sees all virtual tokens and, causally, its own document: bool [width, virtual + width]."""
    return torch.ones(width, virtual + width, dtype=torch.bool, device=device).tril(virtual)


AttentionInterface.register(DOCUMENTS, document_attention)
AttentionMaskInterface.register(DOCUMENTS, sdpa_mask)
