"""Packed rows as tensors, and the attention mask that keeps their documents apart, virtual tokens included.

A row holds several documents. Every token sees the virtual tokens (once per row) and, causally, its own document; positions restart
in each document, after the virtual tokens. So a packed batch computes exactly what each document would alone (docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from codetune.config import Packing
from codetune.data.pack import PackedRows, Row, best_fit_decreasing, one_stream, row_tokens, whole_examples
from codetune.data.tokenise import TokenisedExamples

PADDING = 0  # document number of padding
WIDTH_STEP = 32  # widths are rounded up: kernels are compiled anew, and kept, for every new shape


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens, all tensors [rows, tokens]."""

    input_ids: torch.Tensor  # int64
    documents: torch.Tensor  # int64: which document of its row a token belongs to; 0 is padding
    positions: torch.Tensor  # int64: place in the document
    targets: torch.Tensor  # bool: this token is predicted, under the loss

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.input_ids.to(device), self.documents.to(device), self.positions.to(device), self.targets.to(device))

    @property
    def num_targets(self) -> int:
        return int(self.targets.sum())


def make_rows(examples: TokenisedExamples, packing: Packing, capacity: int, order: Sequence[int]) -> PackedRows:
    """Which pieces of which examples share a row. `order` matters for `concatenated` alone; rows of `exact` are as full as can be."""
    if packing == "concatenated":
        return one_stream(examples.lengths, capacity, order)
    if packing == "padded":
        return whole_examples(np.arange(len(examples)), np.ones(len(examples), dtype=np.int64), examples.lengths)
    return best_fit_decreasing(examples.lengths, capacity)


def rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def collate(examples: TokenisedExamples, rows: Sequence[Row], packing: Packing, pad_id: int = 0) -> Batch:
    """Rows as one batch, padded to its longest row or a little more. In `concatenated` rows all documents are one: they see each other."""
    width = rounded_up(max(row_tokens(row) for row in rows), WIDTH_STEP)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    documents = np.full((len(rows), width), PADDING, dtype=np.int64)
    positions = np.zeros((len(rows), width), dtype=np.int64)  # padding stands at 0: the model may have no position so far out
    targets = np.zeros((len(rows), width), dtype=bool)
    for r, row in enumerate(rows):
        at = 0
        for number, (index, start, stop) in enumerate(row, start=1):
            place = slice(at, at + stop - start)
            ids[r, place] = examples.example(index)[start:stop]
            documents[r, place] = 1 if packing == "concatenated" else number
            targets[r, place] = examples.targets(index)[start:stop]
            first = at if packing == "concatenated" else 0
            positions[r, place] = np.arange(first, first + stop - start)
            at += stop - start
        targets[r, 0] = False  # nothing in the row comes before it
    return Batch(*(torch.from_numpy(array) for array in (ids, documents, positions, targets)))


def attention_mask(batch: Batch, num_virtual_tokens: int, virtual_queries: bool, window: int | None) -> torch.Tensor:
    """Who sees whom: bool [rows, 1, queries, keys], True where a query may look.

    Keys are the virtual tokens and then the text; queries too when `virtual_queries` (prompt-tuning), else the text alone
    (prefix-tuning, where virtual tokens are only keys and values). A sliding window is cut by position, not by index in the row.
    Padding sees itself, so that no row of the softmax is empty.
    """
    rows, width = batch.input_ids.shape
    virtual = num_virtual_tokens
    index = torch.arange(virtual + width, device=batch.input_ids.device)
    no_document = torch.full((rows, virtual), -1, device=index.device)
    documents = torch.cat([no_document, batch.documents], dim=1)
    key_documents, query_documents = documents, documents if virtual_queries else batch.documents
    query_index = index if virtual_queries else index[virtual:]
    same = (query_documents[:, :, None] == key_documents[:, None, :]) | (key_documents[:, None, :] == -1)
    allowed = same & (index[None, None, :] <= query_index[None, :, None])
    if window is not None:
        positions = torch.cat([index[:virtual].expand(rows, -1), batch.positions + virtual], dim=1)
        query_positions = positions if virtual_queries else positions[:, virtual:]
        allowed &= query_positions[:, :, None] - positions[:, None, :] < window
    return allowed[:, None]
