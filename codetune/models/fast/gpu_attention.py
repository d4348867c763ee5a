"""Attention of packed rows on a GPU: by variable-length flash kernels, or by FlexAttention where a row has virtual tokens.

The rule, one batch at a time (`packed_of`):

    no virtual tokens, in bf16 or fp16    `torch.nn.attention.varlen`: the rows end to end as one stream, cut at the documents. Nothing is
                                          gathered, no score of two documents is computed, a sliding window is the kernel's own.
    virtual tokens, or fp32               FlexAttention with a block mask that is made once for a batch: blocks of 128 x 128 without a pair
                                          that may look at each other cost nothing.
    neither is here, or it failed its     `document_attention`, as on a CPU: documents gathered into a batch as wide as the longest, or the
    proof on this GPU                     dense mask where a window is shorter than that.

Documents of a row are numbered upwards, padding comes last: so a block's first and last token say which documents it holds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from codetune.batches import PADDING, Batch, attention_mask, rounded_up
from codetune.models.attention import LAYOUT, PROVED, Layout, document_attention, forecast_of_a_gpu
from codetune.models.families import Family
from codetune.models.fast.gpu_proof import failure, sample_batch

try:
    from torch.nn.attention import varlen

    varlen_attn: Any = varlen.varlen_attn
except ImportError:  # a torch that does not have it
    varlen_attn = None

PACKED = "codetune_packed"
DOCUMENT_STEP = 32  # numbers of documents are rounded up, as widths are: CUDA graphs are recorded anew, and kept, for every new shape
BLOCK = 128  # tokens that FlexAttention passes over or computes together
_HALF = (torch.bfloat16, torch.float16)
_LARGEST_HEAD = 256  # of flash attention's kernels, which also want multiples of 8
_LEAST_HEAD = 16  # of FlexAttention's: a product of Triton's has at least so many places


@dataclass(frozen=True, slots=True)
class Stream:
    """The rows end to end: `starts` int32 [documents, rounded up, + 1] are where its pieces begin, of which those added are empty;
    `longest` bounds their length, in tokens.

    A row's padding goes with its last document: it comes after all of it, so no token of the document sees it.
    """

    starts: torch.Tensor
    longest: int
    window: int | None


@dataclass(frozen=True, slots=True)
class Blocks:
    """Which blocks of queries and keys are computed, and which pairs in them."""

    mask: BlockMask


def use_packed_attention(model: Any) -> None:
    """Let the model's attention take streams and blocks, where it takes layouts at all (`models.attention`)."""
    if model.config.model_type in PROVED and model.config._attn_implementation != PACKED:
        model.set_attn_implementation(PACKED)


def packed_of(
    model: Any, family: Family, batch: Batch, virtual: int, virtual_queries: bool, dtype: torch.dtype
) -> Stream | Blocks | None:
    """What the batch's attention is computed by, None where nothing here is better than layouts. `dtype`: what attention runs in."""
    device = batch.input_ids.device
    on_cpu = device.type == "cpu"  # a forecast's tensors without data, and tests
    fits = family.head_dim % 8 == 0 and family.head_dim <= _LARGEST_HEAD
    shape = (model.config.num_attention_heads, family.kv_heads, family.head_dim)
    if not virtual and varlen_attn is not None and (on_cpu or (dtype in _HALF and fits and varlen_holds(device, dtype, *shape))):
        return stream_of(batch, family.sliding_window)
    if on_cpu or (family.head_dim >= _LEAST_HEAD and flex_holds(device, dtype, *shape)):
        return Blocks(block_mask(batch, virtual, virtual_queries, family.sliding_window))
    return None


def stream_of(batch: Batch, window: int | None) -> Stream:
    """The batch's rows as a stream; `window` is the sliding window of the model, which a document's own tokens alone meet."""
    rows, width = batch.input_ids.shape
    missing = -len(batch.places) % DOCUMENT_STEP
    starts = torch.nn.functional.pad(batch.places[:, 0], (0, 1 + missing), value=rows * width).to(torch.int32)
    return Stream(starts, width, window)


def block_mask(batch: Batch, virtual: int, virtual_queries: bool, window: int | None) -> BlockMask:
    """Who sees whom, as `batches.attention_mask` has it, by blocks; no mask of all pairs is made, and no value waited for."""
    rows, width = batch.input_ids.shape
    device, keys = batch.input_ids.device, virtual + width
    documents = torch.nn.functional.pad(batch.documents, (virtual, 0), value=-1)
    first_text = torch.arange(virtual, device=device).expand(rows, -1)
    positions = torch.cat([first_text, batch.positions + virtual], dim=1)
    before = 0 if virtual_queries else virtual  # keys before the first query

    def sees(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        place = query + before
        same = (documents[row, place] == documents[row, key]) | (key < virtual)
        seen = same & (key <= place)
        if window is not None:
            seen = seen & (positions[row, place] - positions[row, key] < window)
        return seen

    some, whole = _blocks(documents, virtual, before, window)
    partial = some & ~whole
    return BlockMask.from_kv_blocks(
        *_listed(partial), *_listed(whole), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(keys - before, keys)
    )  # fmt: skip


def _blocks(documents: torch.Tensor, virtual: int, before: int, window: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Blocks that may hold a pair that look at each other, and blocks of nothing else: bool [rows, blocks of queries, blocks of keys]."""
    order = documents.masked_fill(documents == PADDING, torch.iinfo(documents.dtype).max)  # padding comes last
    k_first, k_last, k_low, k_high, k_ragged = _ends(order, 0)
    q_first, q_last, q_low, q_high, q_ragged = _ends(order[:, before:], before)
    k_low, k_high, q_low, q_high = k_low[:, None], k_high[:, None], q_low[:, :, None], q_high[:, :, None]
    k_first, k_last, q_first, q_last = k_first[None], k_last[None], q_first[:, None], q_last[:, None]
    has_virtual = k_first < virtual
    some = (((q_high >= k_low) & (q_low <= k_high)) | has_virtual) & (k_first <= q_last)
    one = (q_low == q_high) & (k_low == k_high) & (q_low == k_low)
    whole = (one | (k_last < virtual)) & (k_last <= q_first) & ~(q_ragged[:, None] | k_ragged[None])
    if window is not None:
        some = some & ((q_first - k_last < window) | has_virtual)
        whole = whole & (q_last - k_first < window)  # by position, two tokens are never farther apart than by place
    return some, whole


def _ends(documents: torch.Tensor, before: int) -> tuple[torch.Tensor, ...]:
    """Of each block its first and last place, its first and last document [rows, blocks], and whether it is cut short."""
    width = documents.shape[1]
    first = torch.arange(0, rounded_up(width, BLOCK), BLOCK, device=documents.device)
    last = (first + BLOCK - 1).clamp(max=width - 1)
    return first + before, last + before, documents[:, first], documents[:, last], first + BLOCK > width


def _listed(chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many blocks each block of queries meets [rows, 1, blocks], and which, these first [rows, 1, blocks, blocks]."""
    order = chosen.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
    return chosen.sum(-1, dtype=torch.int32)[:, None], order.to(torch.int32)[:, None]


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Behind transformers' attention interface: [rows, heads, tokens, head dim] in, [rows, tokens, heads, head dim] out."""
    layout: Stream | Blocks | Layout | None = kwargs.get(LAYOUT)
    if layout is None or isinstance(layout, Layout):
        return document_attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    if torch.is_autocast_enabled(query.device.type):  # as it would for SDPA: rotary positions may have widened queries and keys
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if isinstance(layout, Stream):
        return _by_stream(query, key, value, layout, scaling), None
    if forecast_of_a_gpu():
        return _kept_alike(query, key, value, scaling), None
    return _by_blocks(query, key, value, layout.mask, scaling).transpose(1, 2), None


def _by_stream(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, stream: Stream, scaling: float | None) -> torch.Tensor:
    """[rows, heads, tokens, head dim] in, [rows, tokens, heads, head dim] out."""
    window = (-1, 0) if stream.window is None else (stream.window - 1, 0)
    return _varlen(query, key, value, stream.starts, stream.longest, window, scaling)


def _varlen(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, starts: torch.Tensor, longest: int, window: tuple[int, int],
    scaling: float | None,
) -> torch.Tensor:  # fmt: skip
    rows, heads, width, _ = query.shape
    q, k, v = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))  # views, as linear layers leave their output
    several = heads != key.shape[1]
    out: Any = varlen_attn(q, k, v, starts, starts, longest, longest, scale=scaling, window_size=window, enable_gqa=several)
    return torch.unflatten(out, 0, (rows, width))


def _by_blocks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: BlockMask, scaling: float | None) -> torch.Tensor:
    """[rows, heads, queries, head dim]."""
    apart = query.device.type == "cuda" and not torch.compiler.is_compiling()  # else it is compiled with its layer
    compute: Any = _compiled() if apart else flex_attention
    out: torch.Tensor = compute(query, key, value, block_mask=mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1])
    return out


@functools.cache
def _compiled(backend: Any = "inductor") -> Callable[..., Any]:
    """FlexAttention as one kernel for all sizes; what is not compiled keeps all scores, so a graph that breaks is an error.

    A size of one is compiled for itself: one row or several, one block or several, with gradients or without, are kernels of their own.
    """
    settings: dict[str, Any] = {"recompile_limit": 64, "isolate_recompiles": True}  # newer than torch's stubs
    compiled: Callable[..., Any] = torch.compile(flex_attention, fullgraph=True, dynamic=True, backend=backend, **settings)
    return compiled


def _kept_alike(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """What keeps as much as FlexAttention does, for a forecast: queries, keys, values, the output and one number per query."""
    return _varlen(query, key, value, torch.zeros(2, dtype=torch.int32, device=query.device), 1, (-1, -1), scaling)


@functools.cache
def varlen_holds(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> bool:
    """Whether variable-length kernels are here and give, on this device, what the plain computation gives."""
    if varlen_attn is None or not torch.backends.cuda.is_flash_attention_available() or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    batch = sample_batch().to(device)
    stream = stream_of(batch, None)
    return _holds("variable-length attention", lambda q, k, v: _by_stream(q, k, v, stream, None), batch, dtype, (heads, kv_heads, head_dim))


@functools.cache
def flex_holds(device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int) -> bool:
    """Whether FlexAttention compiles and gives, on this device, what the plain computation gives."""
    batch = sample_batch().to(device)
    mask = block_mask(batch, 0, False, None)
    shape = (heads, kv_heads, head_dim)
    return _holds("FlexAttention", lambda q, k, v: _by_blocks(q, k, v, mask, None).transpose(1, 2), batch, dtype, shape)


def _holds(name: str, fast: Callable[..., torch.Tensor], batch: Batch, dtype: torch.dtype, shape: tuple[int, int, int]) -> bool:
    """Whether `fast` gives the text's attention of the batch and its gradients, for random states of heads of this shape."""
    heads, kv_heads, head_dim = shape
    device, (rows, width) = batch.input_ids.device, batch.input_ids.shape
    generator = torch.Generator(device).manual_seed(0)
    states = [
        torch.randn(rows, width, count, head_dim, device=device, generator=generator).to(dtype).transpose(1, 2)
        for count in (heads, kv_heads, kv_heads)
    ]
    text = batch.documents != PADDING
    return not failure(name, lambda *given: fast(*given)[text], lambda q, k, v: _plainly(q, k, v, batch)[text], states)


def _plainly(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, batch: Batch) -> torch.Tensor:
    """With the dense mask, [rows, tokens, heads, head dim]."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    allowed = attention_mask(batch, 0, False, None)
    out: torch.Tensor = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value
    return out.transpose(1, 2)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
