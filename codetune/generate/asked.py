"""What a live ask is to a model of one's own: token ids, and the stop sequences of its style."""

from __future__ import annotations

from collections.abc import Sequence

from codetune.data.encode import encode_context
from codetune.errors import UserError
from codetune.generate.live import Ask, unknown_style
from codetune.models.load import TextTokenizer
from codetune.prompts.infill import hole
from codetune.records import Problem


def prompt_of(
    ask: Ask, usual: str, styles: Sequence[str], tokenizer: TextTokenizer, vocab_size: int
) -> tuple[list[int], tuple[str, ...]]:
    """The ids that a model is asked with, and where the answer ends at the latest.

    `usual` is the prompt style where the ask names none, of the model's `styles`. Raises UserError for what it cannot be asked.
    """
    if ask.messages:
        style = ask.prompt_style or usual
        if style not in styles:
            raise UserError(unknown_style(ask.model, style, styles))
        template = tokenizer.template(style)
        stops = template.stop_sequences(Problem("", instruction="any"))
        return encode_context(template.conversation(ask.messages), tokenizer), (*ask.stop, *stops)
    if ask.suffix is not None:
        marks = tokenizer.infill_marks
        if marks is None or not isinstance(ask.prompt, str):
            raise UserError(f"{ask.model} cannot fill a hole (suffix): its tokenizer has no marks for infilling, or the prompt is no text")
        return encode_context(hole(ask.prompt, ask.suffix, marks), tokenizer), (*ask.stop, *([marks.end] if marks.end else ()))
    ids = _encoded(ask.prompt, tokenizer) if isinstance(ask.prompt, str) else list(ask.prompt)
    if not ids:
        raise UserError("the prompt is empty: give some text")
    if any(not 0 <= token < vocab_size for token in ids):
        raise UserError(f"the prompt has token ids that {ask.model} does not know: its vocabulary has {vocab_size}")
    return ids, ask.stop


def _encoded(prompt: str, tokenizer: TextTokenizer) -> list[int]:
    """A text's ids. Where it holds the family's own marks for infilling, as editors write them, their names stand for the tokens."""
    marks = tokenizer.infill_marks
    asks_with_marks = marks is not None and any(mark in prompt for mark in marks.tokens)
    return tokenizer.encode(prompt, with_bos=True, marks=asks_with_marks)


def too_long(tokens: int, positions: str) -> str:
    """What is said of a prompt that leaves no room; in words by which litellm (aider's client) knows the case."""
    return f"the prompt has {tokens} tokens, so with an answer it is longer than the model's context length of {positions}: shorten it"
