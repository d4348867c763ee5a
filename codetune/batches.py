"""Packed rows as tensors, and the attention mask that keeps their documents apart, virtual tokens included.

A row holds several documents. Every token sees the virtual tokens (once per row) and, causally, its own document; positions restart
in each document, after the virtual tokens. So a packed batch computes exactly what each document would alone (docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from codetune.config import Packing
from codetune.data.pack import PackedRows, Row, best_fit_decreasing, one_stream, row_tokens, whole_examples
from codetune.data.tokenise import TokenisedExamples

PADDING = 0  # document number of padding
WIDTH_STEP = 32  # widths are rounded up: kernels are compiled anew, and kept, for every new shape
TARGET_STEP = 32  # so are numbers of targets
JOINED_STEP = 16  # and tokens of rows that are run end to end
IGNORED = -100  # the label of what is no target


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens, [rows, tokens] where nothing else is said.

    All that depends on the data (which tokens are predicted, where documents are) is an index made on the CPU, once: the forward
    pass never asks a tensor for a value, so a GPU need not wait, and shapes alone tell what a pass takes.
    """

    input_ids: torch.Tensor  # int64
    documents: torch.Tensor  # int64: which document of its row a token belongs to; 0 is padding
    positions: torch.Tensor  # int64: place in the document
    targets: torch.Tensor  # bool: this token is predicted, under the loss
    predicted: torch.Tensor  # int64 [targets, rounded up]: which of rows x tokens are predicted
    labels: torch.Tensor  # int64 [targets, rounded up]: their ids, IGNORED for what was added
    places: torch.Tensor  # int64 [documents, width]: indices into rows x tokens of each document's text, 0 behind its end
    row: torch.Tensor  # int64 [documents]: each document's row
    back: torch.Tensor  # int64 [rows x tokens]: each token's index in documents x width, 0 for padding

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(getattr(self, each.name).to(device) for each in fields(self)))

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
    return batch_of(ids, documents, positions, targets)


def batch_of(ids: np.ndarray, documents: np.ndarray, positions: np.ndarray, targets: np.ndarray) -> Batch:
    """A batch of arrays [rows, tokens], with its indices. A document's tokens are neighbours in its row."""
    predicted = np.flatnonzero(targets)
    labels = ids.reshape(-1)[predicted]
    missing = -len(predicted) % TARGET_STEP
    predicted, labels = np.pad(predicted, (0, missing), constant_values=1), np.pad(labels, (0, missing), constant_values=IGNORED)
    text = (documents != PADDING).reshape(-1)
    starts = documents != PADDING
    starts[:, 1:] &= documents[:, 1:] != documents[:, :-1]
    first = np.flatnonzero(starts)
    index = np.flatnonzero(text)
    number = np.cumsum(starts.reshape(-1))[index] - 1
    place = index - first[number]
    width = rounded_up(int(place.max(initial=0)) + 1, WIDTH_STEP)
    places, back = np.zeros((len(first), width), dtype=np.int64), np.zeros(text.shape, dtype=np.int64)
    places[number, place] = index
    back[index] = number * width + place
    arrays = (ids, documents, positions, targets, predicted, labels, places, first // documents.shape[1], back)
    return Batch(*map(torch.from_numpy, arrays))


def end_to_end(batch: Batch) -> Batch:
    """The same documents in one row without padding between them, for attention that goes by document: a row less is a copy of the
    virtual tokens less. As wide as the text, rounded up.
    """
    kept = (batch.documents != PADDING).flatten().nonzero().squeeze(1)
    missing = -len(kept) % JOINED_STEP
    place = torch.zeros_like(batch.back)  # of each token in the new row
    place[kept] = torch.arange(len(kept), device=kept.device)

    def text_of(each: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(each.flatten()[kept], (0, missing))[None]

    document = batch.back.div(batch.places.shape[1], rounding_mode="floor") + 1
    return Batch(
        text_of(batch.input_ids), text_of(document), text_of(batch.positions), text_of(batch.targets), place[batch.predicted - 1] + 1,
        batch.labels, place[batch.places], torch.zeros_like(batch.row), text_of(batch.back)[0],
    )  # fmt: skip


def full_rows(rows: int, width: int) -> Batch:
    """Rows of one document each, all of it under the loss: what takes the most memory of all data."""
    ids = np.zeros((rows, width), dtype=np.int64)
    targets = np.ones((rows, width), dtype=bool)
    targets[:, 0] = False
    return batch_of(ids, ids + 1, np.tile(np.arange(width), (rows, 1)), targets)


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
