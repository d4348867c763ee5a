"""Rendered text to token ids, each with the word whether it counts for the loss.

Every segment is turned into tokens by itself. So what a model is asked with at inference has the ids that it had in training, and an
answer's first token is the same whatever stands before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from codetune.config import LossOn
from codetune.errors import UserError
from codetune.prompts.infill import Infilling
from codetune.prompts.rendered import Rendered
from codetune.prompts.template import Template
from codetune.records import Document

Encoded = tuple[list[int], list[bool]]  # ids, and which of them count for the loss
CUT, MASKED = "cut before their end", "with an end that does not count for the loss"  # why examples do not end with a supervised EOS


class Tokenizer(Protocol):
    """What tokenising needs of a tokenizer; `models.load` wraps the transformers ones in it."""

    name_hash: str
    bos_id: int | None
    eos_id: int

    def encode(self, text: str, with_bos: bool, marks: bool = False) -> list[int]:
        """Ids of a text's start: a prompt, or a document. With `marks`, names of special tokens stand for them; else they are text."""

    def encode_continuation(self, text: str, marks: bool = False) -> list[int]:
        """Ids of a text that follows other text: no BOS, and no leading space invented."""


@runtime_checkable
class BatchTokenizer(Protocol):
    """A tokenizer that also takes many texts in one call: the same ids, sooner."""

    def encode_starts(self, texts: Sequence[str], marks: bool = False) -> list[list[int]]:
        """`encode` of each, without BOS."""

    def encode_continuations(self, texts: Sequence[str], marks: bool = False) -> list[list[int]]:
        """`encode_continuation` of each."""


def encode(rendered: Rendered, tokenizer: Tokenizer, loss_on: LossOn = "completion") -> Encoded:
    """Ids of a training text, EOS after every answer included, and which of them count for the loss.

    An EOS counts where the answer before it does. BOS comes first by the tokenizer's own habit, unless the text holds it.
    """
    texts = [(segment.text, rendered.has_marks(number)) for number, segment in enumerate(rendered.segments)]
    start = tokenizer.encode(texts[0][0], not rendered.has_special, texts[0][1])
    rest = [tokenizer.encode_continuation(text, marks) for text, marks in texts[1:]]
    return _joined(rendered, [start, *rest], tokenizer.eos_id, loss_on)


def encode_all(rendereds: Sequence[Rendered], tokenizer: Tokenizer, loss_on: LossOn = "completion") -> list[Encoded]:
    """`encode` of each; in a few calls where the tokenizer takes many texts at once."""
    if not isinstance(tokenizer, BatchTokenizer):
        return [encode(rendered, tokenizer, loss_on) for rendered in rendereds]
    texts = [[(segment.text, rendered.has_marks(number)) for number, segment in enumerate(rendered.segments)] for rendered in rendereds]
    starts = _in_order([one[0] for one in texts], tokenizer.encode_starts)
    others = _in_order([text for one in texts for text in one[1:]], tokenizer.encode_continuations)
    made = []
    for rendered in rendereds:
        bos = [tokenizer.bos_id] if tokenizer.bos_id is not None and not rendered.has_special else []
        pieces = [[*bos, *next(starts)], *(next(others) for _ in rendered.segments[1:])]
        made.append(_joined(rendered, pieces, tokenizer.eos_id, loss_on))
    return made


def encode_documents(
    documents: Sequence[Document],
    template: Template,
    tokenizer: Tokenizer,
    loss_on: LossOn = "completion",
    infilling: Infilling | None = None,
    max_length: int | None = None,
) -> list[Encoded | str]:
    """Each document's ids and what counts for the loss, in order; where a conversation cannot be written, the reason instead.

    Plain code that would be longer than `max_length` tokens with a hole stays as it is, as in Code Llama: its pieces would be torn apart.
    """
    made: list[Encoded | str] = []
    rendereds = dict[int, Rendered]()
    for number, document in enumerate(documents):
        made.append("")
        try:
            rendereds[number] = infilling.render(document, template) if infilling else template.render_document(document)
        except UserError as error:
            made[number] = str(error)
    for (number, rendered), encoded in zip(rendereds.items(), encode_all(list(rendereds.values()), tokenizer, loss_on), strict=True):
        torn = max_length is not None and len(encoded[0]) > max_length and documents[number].kind == "code" and len(rendered.segments) > 1
        made[number] = encode(template.render_document(documents[number]), tokenizer, loss_on) if torn else encoded
    return made


def encode_prompt(prompt: str, tokenizer: Tokenizer, has_special: bool = False) -> list[int]:
    """Ids of an inference prompt; BOS by the family's rule, unless the text has it (chat templates)."""
    return tokenizer.encode(prompt, not has_special, has_special)


def encode_context(rendered: Rendered, tokenizer: Tokenizer) -> list[int]:
    """Ids of all before the last segment, as in training: what a model is given for the answer that stands there."""
    return encode(dataclasses.replace(rendered, segments=rendered.segments[:-1]), tokenizer)[0]


def encode_pair(rendered: Rendered, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Of a pair: prompt ids, and completion ids with EOS."""
    ids, counted = encode(rendered, tokenizer, "completion")
    first = counted.index(True)
    return ids[:first], ids[first:]


@dataclass(frozen=True, slots=True)
class Endings:
    """How examples end. `causes` counts those that do not end with a supervised EOS, by why; `doubled` those that have it twice."""

    examples: int
    causes: dict[str, int] = field(default_factory=dict)
    doubled: int = 0

    @property
    def share(self) -> float:
        """Of the examples, those whose last supervised label is an end: without it a model never learns to stop."""
        return 1 - sum(self.causes.values()) / self.examples if self.examples else 0.0

    @property
    def line(self) -> str:
        """In words: how many, and why not all."""
        why = ", ".join(f"{count:,} {cause}" for cause, count in self.causes.items())
        twice = f"; {self.doubled:,} have EOS twice, as the text brings its own" if self.doubled else ""
        return f"{self.share:.1%} of {self.examples:,} examples end with a supervised EOS" + (f" ({why})" if why else "") + twice


def endings(ids: NDArray[np.int32], supervised: NDArray[np.bool_], offsets: NDArray[np.int64], ends: Collection[int]) -> Endings:
    """How the examples `ids[offsets[i] : offsets[i + 1]]` end; none is empty. `ends` are EOS and the family's marks of a turn's end.

    A first token never counts for the loss, whatever `supervised` says: nothing comes before it.
    """
    if len(offsets) < 2:
        return Endings(0)
    last = offsets[1:] - 1
    is_end, inner = np.isin(ids[last], list(ends)), last > offsets[:-1]
    counted = supervised[last].astype(bool) & inner
    causes = {
        CUT: int((~is_end).sum()),
        MASKED: int((is_end & ~counted & inner).sum()),
        "with nothing but an end": int((is_end & ~inner).sum()),
    }
    doubled = int((is_end & inner & (ids[last] == ids[np.maximum(last - 1, 0)])).sum())
    return Endings(len(last), {cause: count for cause, count in causes.items() if count}, doubled)


def endings_of(examples: Iterable[Encoded], ends: Collection[int]) -> Endings:
    """`endings` of lists."""
    kept = list(examples)
    offsets = np.cumsum([0, *(len(ids) for ids, _ in kept)], dtype=np.int64)
    ids = np.array([token for ids, _ in kept for token in ids], dtype=np.int32)
    return endings(ids, np.array([flag for _, flags in kept for flag in flags], dtype=np.bool_), offsets, ends)


def _in_order(texts: Sequence[tuple[str, bool]], encode_many: Callable[[list[str], bool], list[list[int]]]) -> Iterator[list[int]]:
    """Ids of texts with and without marks, each kind in one call."""
    made = {marks: iter(encode_many([text for text, has in texts if has == marks], marks)) for marks in (False, True)}
    return (next(made[marks]) for _, marks in texts)


def _joined(rendered: Rendered, pieces: Sequence[list[int]], eos_id: int, loss_on: LossOn) -> Encoded:
    """The segments' ids in one, with EOS where answers end."""
    ids, flags = list[int](), list[bool]()
    for number, (piece, counts) in enumerate(zip(pieces, rendered.supervised(loss_on), strict=True)):
        closed = [*piece, eos_id] if rendered.eos_follows(number) else piece
        ids += closed
        flags += [counts] * len(closed)
    return ids, flags
