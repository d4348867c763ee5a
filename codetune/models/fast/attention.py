"""Attention of packed rows on a CPU: batched matrix products over documents, forward and backward.

The same numbers as `models.attention.document_attention`, of which little is computed that the causal mask hides, nothing is kept twice,
and tokens go between rows and documents by plain copies in both directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from codetune.models.fast.numbers import plainly, product_type

BLOCK = 128  # queries at once; what comes after the last of them is not looked at
KEPT = 1024  # tokens of a document: the softmax's shares of longer ones are computed again, as they grow with the square of its length


@dataclass(frozen=True, slots=True)
class Moves:
    """How tokens go between rows and documents; made once for all layers of a batch.

    `places` [documents x width] and `back` [rows x tokens] are indices into the other form, with 0 where there is no token; `text` and
    `filled` are [rows x tokens, 1] and [documents x width, 1]: 1 where there is one. `row` [documents] is each document's row.
    """

    places: torch.Tensor
    row: torch.Tensor
    back: torch.Tensor
    text: torch.Tensor
    filled: torch.Tensor
    documents: int
    same: bool  # every row is one document

    @classmethod
    def of(cls, places: torch.Tensor, row: torch.Tensor, back: torch.Tensor, rows: int) -> Moves:
        """`places` [documents, width], `row` [documents], `back` [rows x tokens], as of `models.attention.Layout`."""
        documents, width = places.shape
        same = documents == rows and documents * width == len(back)
        there = []
        for index in (back, places.flatten()):
            found = index != 0
            found[0] = True  # the first token of all is a document's first
            there.append(found[:, None])
        return cls(places.flatten(), row, back, there[0], there[1], documents, same)

    def to_documents(self, states: torch.Tensor) -> torch.Tensor:
        """[rows, heads, tokens, size] as [heads, documents x width, size]."""
        flat = states.transpose(0, 1).flatten(1, 2)
        return flat.contiguous() if self.same else flat.index_select(1, self.places)

    def to_rows(self, states: torch.Tensor) -> torch.Tensor:
        """[heads, documents x width, size] as [rows x tokens, heads, size]."""
        moved = states.transpose(0, 1)
        return moved.contiguous() if self.same else moved.index_select(0, self.back)


class DocumentAttention(torch.autograd.Function):
    """softmax(s Q K^T) V of every document, causal, after its row's virtual tokens.

    `query` [rows, heads, tokens, head dim], `key` and `value` [rows, key heads, virtual + tokens, head dim]. Returns [rows, tokens, heads,
    head dim]. Kept are what was multiplied, what is returned, and of documents up to `KEPT` tokens the softmax's shares.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, moves: Moves, virtual: int, scaling: float
    ) -> torch.Tensor:
        dtype = product_type(query)
        rows, heads, tokens, size = query.shape
        key_heads = key.shape[1]
        with plainly(query.device.type):
            q = _by_key_head(moves.to_documents(query.to(dtype)), key_heads, moves.documents)
            k, v = (_keys(each.to(dtype), moves, virtual) for each in (key, value))
            groups, width = q.shape[1:3]
            out, shares = torch.empty_like(q), []
            for start, end in _blocks(width):
                share = _shares(q[:, :, start:end], k[:, : virtual + end], scaling)
                out[:, :, start:end] = (share @ v[:, : virtual + end]).view(-1, groups, end - start, size)
                if width <= KEPT:
                    shares.append(share)
            made = moves.to_rows(_by_head(out, heads))
        ctx.save_for_backward(q, k, v, made, *shares)
        ctx.moves, ctx.virtual, ctx.scaling = moves, virtual, scaling
        ctx.shape, ctx.kinds = query.shape, (query.dtype, key.dtype, value.dtype)
        return made.view(rows, tokens, heads, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, made, *shares = ctx.saved_tensors
        moves, virtual, (rows, heads, tokens, size) = ctx.moves, ctx.virtual, ctx.shape
        key_heads, (groups, width) = k.shape[0] // moves.documents, q.shape[1:3]
        wide = torch.promote_types(q.dtype, torch.float32)
        mean = (grad.flatten(0, 1).to(wide) * made).sum(-1, keepdim=True).to(q.dtype)  # of a softmax's gradient, under its shares
        given, mean = (
            _by_key_head(_clean(moves.to_documents(each.view(rows, tokens, heads, -1).transpose(1, 2)), moves), key_heads, moves.documents)
            for each in (grad.to(q.dtype), mean)
        )
        of_q, of_k, of_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for number, (start, end) in enumerate(_blocks(width)):
            share = shares[number] if shares else _shares(q[:, :, start:end], k[:, : virtual + end], ctx.scaling)
            asked, told, seen = q[:, :, start:end].flatten(1, 2), given[:, :, start:end].flatten(1, 2), virtual + end
            of_v[:, :seen].baddbmm_(share.transpose(1, 2), told)
            of_share = torch.baddbmm(mean[:, :, start:end].flatten(1, 2), told, v[:, :seen].transpose(1, 2), beta=-1)
            of_score = of_share.mul_(share)
            of_q[:, :, start:end] = (of_score @ k[:, :seen]).view(-1, groups, end - start, size)
            of_k[:, :seen].baddbmm_(of_score.transpose(1, 2), asked, alpha=ctx.scaling)
        of_query = moves.to_rows(_by_head(of_q.mul_(ctx.scaling), heads))
        of_query = (of_query if moves.same else of_query * moves.text[..., None]).view(rows, tokens, heads, size).transpose(1, 2)
        found = of_query, *(_of_keys(each, moves, virtual, rows) for each in (of_k, of_v))
        return (*(each.to(kind) for each, kind in zip(found, ctx.kinds, strict=True)), None, None, None)


def _blocks(width: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, width)) for start in range(0, width, BLOCK)]


def _shares(q: torch.Tensor, k: torch.Tensor, scaling: float) -> torch.Tensor:
    """softmax(s Q K^T) [batch, groups x queries, keys] of queries [batch, groups, queries, size], who are the last of the keys."""
    groups, queries = q.shape[1:3]
    later = torch.full((queries, queries), -torch.inf, dtype=q.dtype, device=q.device).triu_(1)
    hidden = torch.nn.functional.pad(later, (k.shape[1] - queries, 0)).repeat(groups, 1)[None]
    scores = torch.baddbmm(hidden, q.flatten(1, 2), k.transpose(1, 2), alpha=scaling)
    return torch.softmax(scores, -1, out=scores)


def _by_key_head(states: torch.Tensor, key_heads: int, documents: int) -> torch.Tensor:
    """[heads, documents x width, size] as [key heads x documents, groups, width, size]: queries that share their keys together."""
    heads, places, size = states.shape
    if heads == key_heads:
        return states.view(heads * documents, 1, -1, size)
    apart = states.view(key_heads, heads // key_heads, documents, places // documents, size)
    return apart.transpose(1, 2).reshape(key_heads * documents, heads // key_heads, -1, size)


def _by_head(states: torch.Tensor, heads: int) -> torch.Tensor:
    """The way back: [heads, documents x width, size]."""
    _, groups, width, size = states.shape
    if groups == 1:
        return states.view(heads, -1, size)
    return states.view(heads // groups, -1, groups, width, size).transpose(1, 2).reshape(heads, -1, size)


def _keys(states: torch.Tensor, moves: Moves, virtual: int) -> torch.Tensor:
    """[rows, key heads, virtual + tokens, size] as [key heads x documents, virtual + width, size]."""
    text = moves.to_documents(states[:, :, virtual:]).view(states.shape[1] * moves.documents, -1, states.shape[-1])
    if not virtual:
        return text
    first = states[:, :, :virtual].index_select(0, moves.row).transpose(0, 1).flatten(0, 1)
    return torch.cat([first, text], dim=1)


def _of_keys(grad: torch.Tensor, moves: Moves, virtual: int, rows: int) -> torch.Tensor:
    """The way back, for gradients: a row's virtual tokens get the sum over its documents."""
    heads, size = grad.shape[0] // moves.documents, grad.shape[-1]
    text = moves.to_rows(grad[:, virtual:].reshape(heads, -1, size))
    if not moves.same:
        text = text * moves.text[..., None]
    of_text = text.view(rows, -1, heads, size).transpose(1, 2)
    if not virtual:
        return of_text
    apart = grad[:, :virtual].view(heads, moves.documents, virtual, size).transpose(0, 1)
    first = grad.new_zeros(rows, heads, virtual, size).index_add_(0, moves.row, apart)
    return torch.cat([first, of_text], dim=2)


def _clean(states: torch.Tensor, moves: Moves) -> torch.Tensor:
    """Nothing behind a document's end, where a move repeats the first token of all."""
    return states if moves.same else states.mul_(moves.filled)
