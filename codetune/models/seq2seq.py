"""Encoder-decoder models: prompts for the encoder, answers for the decoder, and the states that predict an answer's tokens.

An example is the same as for a decoder-only model, one to a row. The encoder reads what does not count for the loss, then the marks that
end a text; the decoder reads the marks that begin one and predicts what counts. Padding is on the right and masked: T5 tells positions by
their distance, PLBART from the left, so an example computes what it would alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from codetune.batches import IGNORED, WIDTH_STEP, Batch, rounded_up
from codetune.config import TrainRecipe
from codetune.data.tokenise import TokenisedExamples
from codetune.errors import UserError
from codetune.methods.encoder_decoder import refused_for_pairs
from codetune.models.families import Family, Marks

_LANGUAGE = "__python__"  # what PLBART's decoder starts from to write Python


@dataclass(frozen=True, slots=True)
class Pairs:
    """Prompts and answers as a model takes them, all tensors [rows, tokens of the longest, or a little more]."""

    prompt_ids: torch.Tensor  # int64, with the marks that end a text
    prompt_mask: torch.Tensor  # bool: not padding
    answer_ids: torch.Tensor  # int64: what the decoder reads, from its start
    labels: torch.Tensor  # int64: what comes next at each place; IGNORED before the answer begins, and in padding


def with_marks(family: Family, config: Any, tokenizer: Any) -> Family:
    """The family with the marks that the tokenizer puts around a text of its own accord.

    CodeT5's has <s> and </s>: so its encoder reads them, and its decoder reads <s> after its own start. PLBART's may end a text with a
    language; its decoder starts from the mark of Python where its config names no start.
    """
    if not family.encoder_decoder:
        return family
    whole, bare = tokenizer("x").input_ids, tokenizer.encode("x", add_special_tokens=False)
    begins = 1 if whole[:1] == [tokenizer.bos_token_id] and whole[:1] != bare[:1] else 0
    start = family.marks.before_answer
    if getattr(config, "decoder_start_token_id", None) is None and _LANGUAGE in (vocabulary := tokenizer.get_vocab()):
        start = (vocabulary[_LANGUAGE],)
    return replace(family, marks=Marks(tuple(whole[begins + len(bare) :]), (*start, *whole[:begins])))


def room_for_answer(family: Family, prompt: Sequence[int]) -> int:
    """Positions of the decoder that its marks leave free; where the encoder cannot read the prompt, how many it lacks, below 0."""
    free = family.max_positions - len(prompt) - len(family.marks.after_prompt)
    return family.max_positions - len(family.marks.before_answer) if free >= 0 else free


def padded_prompts(prompts: Sequence[Sequence[int]], family: Family, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts as the encoder reads them: ids and mask, [rows, tokens], padded on the right."""
    texts = [[*prompt, *family.marks.after_prompt] for prompt in prompts]
    width = _width(max(map(len, texts)), family)
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    lengths = torch.tensor([len(text) for text in texts])
    return ids.to(device), (torch.arange(width) < lengths[:, None]).to(device)


def pairs_of(batch: Batch, family: Family) -> Pairs:
    """A batch of one example per row, cut where its answer begins."""
    assert int(batch.documents.max()) == 1, "an encoder sees a whole row: it must hold one example"
    rows, device = len(batch.input_ids), batch.input_ids.device
    lengths, answers = (batch.documents > 0).sum(1), batch.targets.sum(1)
    prompts = lengths - answers
    end, start = (torch.tensor(marks, device=device) for marks in (family.marks.after_prompt, family.marks.before_answer))
    prompt_places = torch.arange(_width(int(prompts.max()) + len(end), family), device=device).expand(rows, -1)
    end_places = prompts[:, None] + torch.arange(len(end), device=device)
    prompt_ids = _at(batch.input_ids, prompt_places).scatter(1, end_places, end.expand(rows, -1))
    width = _width(int(answers.max()) + len(start) - 1, family)
    places = torch.arange(width, device=device).expand(rows, -1) - (len(start) - 1)  # of the token that is predicted, in the answer
    answer_ids = _at(batch.input_ids, prompts[:, None] + places - 1)
    answer_ids[:, : len(start)] = start
    labels = _at(batch.input_ids, prompts[:, None] + places)
    labels = labels.masked_fill((places < 0) | (places >= answers[:, None]), IGNORED)
    return Pairs(prompt_ids, prompt_places < prompts[:, None] + len(end), answer_ids, labels)


def predicting_states(model: Any, family: Family, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The decoder's last hidden states that predict the answers' tokens, [targets, hidden size], and those tokens, [targets]."""
    pairs = pairs_of(batch, family)
    predicting = pairs.labels != IGNORED
    return answer_states(model, pairs)[predicting], pairs.labels[predicting]


def answer_states(model: Any, pairs: Pairs) -> torch.Tensor:
    """The decoder's last hidden states at all places of the answers, padding too, [rows, tokens, hidden size]."""
    encoded = model.get_encoder()(input_ids=pairs.prompt_ids, attention_mask=pairs.prompt_mask).last_hidden_state
    out = model.get_decoder()(
        input_ids=pairs.answer_ids, encoder_hidden_states=encoded, encoder_attention_mask=pairs.prompt_mask, use_cache=False
    )
    states: torch.Tensor = out.last_hidden_state
    return states


def refuse(recipe: TrainRecipe, family: Family) -> None:
    """Raises UserError for what an encoder-decoder model cannot be trained with; it needs nothing but the model's config."""
    if family.encoder_decoder and (why := refused_for_pairs(recipe.method, recipe.train, recipe.data)):
        raise UserError(f"{recipe.model}: {why}")


def require_pairs(examples: TokenisedExamples, what: str) -> None:
    """Raises UserError where an example is not a prompt and then an answer: an encoder must have something to read."""
    starts, stops = examples.offsets[:-1], examples.offsets[1:]
    counted = examples.supervised.astype(np.int64)
    changes = np.concatenate([[0], np.cumsum(np.abs(np.diff(counted)))])
    is_pair = (counted[starts] == 0) & (counted[stops - 1] == 1) & (changes[stops - 1] - changes[starts] == 1)
    if bad := int((~is_pair).sum()):
        raise UserError(
            f"{bad} of {len(examples)} examples of {what} are not a prompt and its answer (plain code, for example): an encoder-decoder "
            "model learns from pairs and conversations alone; choose such data, or a decoder-only model"
        )


def _at(ids: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Each row's ids at its places; what lies outside is of no account."""
    return ids.gather(1, places.clamp(0, ids.shape[1] - 1))


def _width(tokens: int, family: Family) -> int:
    """A little more, so that few shapes come up, but no position that the model has not."""
    return max(tokens, min(rounded_up(tokens, WIDTH_STEP), family.max_positions))
