"""Plain code as fill-in-the-middle (Bavarian et al. 2022, arXiv 2207.14255): what stands before and after a hole, then the hole.

A document is cut at two characters, each place equally likely (as StarCoder and Code Llama do), and its pieces are put in one of two
orders: prefix, suffix, middle (PSM) or suffix, prefix, middle (SPM), with the marks that the model's family was trained with:

    SantaCoder, StarCoder   <fim_prefix>P<fim_suffix>S<fim_middle>M        <fim_prefix><fim_suffix>S<fim_middle>PM
    Code Llama              <PRE> P <SUF>S <MID>M <EOT>                    <PRE> <SUF>S <MID> PM <EOT>, P and M made tokens as one
    Qwen2.5-Coder           <|fim_prefix|>P<|fim_suffix|>S<|fim_middle|>M  none
    DeepSeek-Coder          begin P hole S end M, its own marks            none
    Codestral               none                                           [SUFFIX]S[PREFIX]PM

(arXiv 2301.03988 and 2305.06161; 2308.12950 and infilling_prompt_tokens of its reference code; 2409.12186; 2401.14196; encode_fim of
mistral-common.) A family that has one order only gets that one. As in all of them prefix, suffix and middle count for the loss, so that
nothing is lost against reading the document as it is; the marks are what a model is asked with, so they do not.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import random
from collections.abc import Container
from dataclasses import dataclass

from codetune.config import InfillingConfig
from codetune.errors import UserError
from codetune.prompts.rendered import Rendered, Segment
from codetune.prompts.template import Template
from codetune.records import Document


class Part(enum.Enum):
    """A piece of the document; `WHOLE` is prefix and middle in one segment."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    MIDDLE = "middle"
    WHOLE = "prefix and middle"


Form = tuple[str | Part, ...]  # marks and pieces, in order


@dataclass(frozen=True, slots=True)
class Marks:
    """How a family writes a document with a hole. `end` follows the middle, before EOS."""

    psm: Form | None
    spm: Form | None
    before_prefix: str = ""  # the space that SentencePiece puts before a text's first word, where a prefix is a text of its own
    end: str = ""

    @property
    def tokens(self) -> set[str]:
        found = {part for form in (self.psm, self.spm) for part in form or () if isinstance(part, str)}
        return {*found, self.end} - {""}


def marks_from(prefix: str, suffix: str, middle: str) -> Marks:
    """PSM, and the form of SPM that all but Codestral know (variant 2 of Bavarian et al., appendix D)."""
    psm = (prefix, Part.PREFIX, suffix, Part.SUFFIX, middle, Part.MIDDLE)
    return Marks(psm, (prefix, suffix, Part.SUFFIX, middle, Part.PREFIX, Part.MIDDLE))


def _psm_only(prefix: str, suffix: str, middle: str) -> Marks:
    return Marks(marks_from(prefix, suffix, middle).psm, None)


_PRE, _SUF, _MID, _EOT = "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"  # their own space is part of these tokens
FAMILIES = {
    "StarCoder": marks_from("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    "SantaCoder": marks_from("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    "Code Llama": Marks(
        (_PRE, Part.PREFIX, _SUF, Part.SUFFIX, _MID, Part.MIDDLE), (_PRE, _SUF, Part.SUFFIX, _MID, Part.WHOLE), before_prefix=" ", end=_EOT
    ),
    "Qwen2.5-Coder": _psm_only("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "DeepSeek-Coder": _psm_only("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    "Codestral": Marks(None, ("[SUFFIX]", Part.SUFFIX, "[PREFIX]", Part.PREFIX, Part.MIDDLE), before_prefix=" "),
}


def marks_of(vocabulary: Container[str]) -> Marks | None:
    """The marks of the family whose tokens are all in the vocabulary."""
    found = next((marks for marks in FAMILIES.values() if all(token in vocabulary for token in marks.tokens)), None)
    if found is not None and found.before_prefix and "▁" not in vocabulary:  # a later Mistral's tokenizer: byte-level, no such space
        return dataclasses.replace(found, before_prefix="")
    return found


def choose_marks(config: InfillingConfig, vocabulary: Container[str]) -> Marks:
    """The recipe's marks, else the tokenizer's. Raises UserError where there are none, or given ones are not three."""
    if config.tokens != "auto":
        if len({*config.tokens, ""}) < 4:
            raise UserError(f"infilling.tokens={list(config.tokens)}: the marks of prefix, suffix and middle must be three, none empty")
        return marks_from(*config.tokens)
    found = marks_of(vocabulary)
    if found is None:
        raise UserError(
            f"infilling.rate={config.rate:g}: this model's tokenizer has no marks for infilling; "
            "set infilling.tokens to three texts such as ['<PRE>', '<SUF>', '<MID>'], or infilling.rate to 0"
        )
    return found


@dataclass(frozen=True, slots=True)
class Infilling:
    """Which documents of a source get a hole, and where: by a hash of seed and id, so in whatever order or process they come."""

    config: InfillingConfig
    marks: Marks
    seed: int = 0

    def render(self, document: Document, template: Template) -> Rendered:
        """The document with a hole where it is plain code and chosen; otherwise what the template makes of it."""
        if document.kind == "code" and document.text:
            key = f"infill {self.seed} {document.source} {document.id}".encode("utf-8", "surrogatepass")
            rng = random.Random(hashlib.sha256(key).digest())
            if rng.random() < self.config.rate:
                return infill(document.text, self.config, self.marks, rng)
        return template.render_document(document)


def infilling_of(config: InfillingConfig, vocabulary: Container[str], seed: int) -> Infilling | None:
    """What a recipe asks for; None where it asks for no holes. Raises UserError as `choose_marks` does."""
    return Infilling(config, choose_marks(config, vocabulary), seed) if config.rate else None


def hole(prefix: str, suffix: str, marks: Marks) -> Rendered:
    """What a model is asked with to fill a hole: the text around it, prefix first where the family knows that order.

    All but the last segment is the question; the last one, empty, is where the answer goes.
    """
    form = marks.psm or marks.spm or ()
    before = f"{marks.before_prefix}{prefix}" if prefix else ""
    pieces = {Part.PREFIX: before, Part.SUFFIX: suffix, Part.MIDDLE: "", Part.WHOLE: before}
    asked = [
        Segment(part, supervised=False, is_mark=True) if isinstance(part, str) else Segment(pieces[part], supervised=False)
        for part in form
        if part is not Part.MIDDLE
    ]
    return Rendered((*asked, Segment("", supervised=True, ends_turn=True)))


def infill(text: str, config: InfillingConfig, marks: Marks, rng: random.Random) -> Rendered:
    """The text with a hole, in an order and at places that `rng` chooses; any of its pieces may be empty."""
    suffix_first = rng.random() < config.spm_share
    start, stop = sorted(int(rng.random() * (len(text) + 1)) for _ in range(2))
    form = (marks.spm if suffix_first else marks.psm) or marks.psm or marks.spm or ()
    prefix = f"{marks.before_prefix}{text[:start]}" if start else ""
    middle = text[start:stop]
    pieces = {Part.PREFIX: prefix, Part.SUFFIX: text[stop:], Part.MIDDLE: middle, Part.WHOLE: prefix + middle}
    end = [Segment(marks.end, supervised=True, ends_turn=True, is_mark=True)] if marks.end else []
    segments = [
        Segment(part, supervised=False, is_mark=True) if isinstance(part, str) else Segment(pieces[part], supervised=True)
        for part in form[:-1]
    ]
    last = form[-1]
    assert isinstance(last, Part)  # every form ends with what is to be written
    return Rendered((*segments, Segment(pieces[last], supervised=True, ends_turn=not end), *end))
