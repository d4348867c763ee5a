"""Cleaning: documents go through the published filters in a fixed order, what must not be learned is masked, Python is laid out anew.

A `Cleaner` is built once per worker process. What it does to a document depends on the document and the recipe alone.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetune.data.cleaning import filters, secrets
from codetune.data.cleaning.filters import Examined
from codetune.data.words import word_hashes
from codetune.data_recipe import FilterConfig
from codetune.errors import UserError
from codetune.prompts.extract import parse
from codetune.records import Document

# Each rule and what it leaves out, in the order in which they are asked; the first that fires counts.
RULES: dict[str, str] = {name: what for name, _, what in filters.RULES} | {"words": "too short or too long, in words of all its text"}

_RUFF_ARGUMENTS = ("format", "--quiet", "--isolated", "--no-cache", "--line-length", "79")  # PEP 8's line length


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A document as it goes on, or None and why: the rule that left it out, and what it measured."""

    document: Document | None
    rule: str = ""
    detail: str = ""
    masked: tuple[str, ...] = ()  # the kind of each thing that was masked


class Cleaner:
    """Applies one recipe's filters. Raises UserError where the recipe wants formatting and ruff is not installed."""

    def __init__(self, config: FilterConfig) -> None:
        if config.format == "ruff" and importlib.util.find_spec("ruff") is None:
            raise UserError("filters.format: ruff is not installed; pip install 'codetune[readability]', or set it to none")
        self.config = config
        masks = (("email", config.mask_emails), ("ip_address", config.mask_ip_addresses), ("key", config.mask_keys))
        self._kinds = tuple(kind for kind, wanted in masks if wanted)

    def clean(self, documents: Sequence[Document]) -> list[Cleaned]:
        """One result for each document, in order."""
        cleaned = [self._filtered(Examined(document)) for document in documents]
        cleaned = self._within_words(cleaned)
        return self._formatted(cleaned) if self.config.format == "ruff" else cleaned

    def _filtered(self, each: Examined) -> Cleaned:
        for name, rule, _ in filters.RULES:
            if detail := rule(each, self.config):
                return Cleaned(None, name, detail)
        return self._masked(each) if self._kinds else Cleaned(each.document)

    def _masked(self, each: Examined) -> Cleaned:
        """The document with every text masked. Python stays Python: what would break it stands outside of strings and comments."""
        document = each.document
        known = repr(document.tests) if document.tests else ()

        def mask(text: str, within: Sequence[secrets.Span] | None = None) -> tuple[str, tuple[str, ...]]:
            return secrets.mask(text, self._kinds, known, within)

        instruction, one = mask(document.instruction)
        extra, two = mask(document.input)
        prompt, three = mask(document.prompt)
        text, four = mask(document.text)
        contents = [mask(message.content) for message in document.messages]
        if (three or four) and each.tree is not None and parse(prompt + text) is None:
            spans, at = secrets.literals(each.code), len(document.prompt)
            prompt, three = mask(document.prompt, spans)
            text, four = mask(document.text, [(start - at, end - at) for start, end in spans])
            if parse(prompt + text) is None:  # code within a string of code: no secret
                prompt, text, three, four = document.prompt, document.text, (), ()
        masked = (*one, *two, *three, *four, *(kind for _, found in contents for kind in found))
        if not masked:
            return Cleaned(document)
        messages = tuple(dataclasses.replace(message, content=new) for message, (new, _) in zip(document.messages, contents, strict=True))
        changed = dataclasses.replace(document, instruction=instruction, input=extra, prompt=prompt, text=text, messages=messages)
        return Cleaned(changed, masked=masked)

    def _within_words(self, cleaned: list[Cleaned]) -> list[Cleaned]:
        if self.config.min_words is None and self.config.max_words is None:
            return cleaned
        found = word_hashes([each.document.whole if each.document else "" for each in cleaned]).offsets
        return [
            Cleaned(None, "words", detail) if each.document and (detail := filters.words(int(end - start), self.config)) else each
            for each, start, end in zip(cleaned, found[:-1], found[1:], strict=True)
        ]

    def _formatted(self, cleaned: list[Cleaned]) -> list[Cleaned]:
        """Python that is whole in itself; a continuation keeps the layout of its prompt."""
        wanted = [
            number for number, each in enumerate(cleaned)
            if each.document and each.document.language.lower() == "python" and each.document.text and not each.document.prompt
        ]  # fmt: skip
        texts = formatted(each.document.text for number in wanted if (each := cleaned[number]).document)
        results = list(cleaned)
        for number, text in zip(wanted, texts, strict=True):
            document = cleaned[number].document
            if document is not None and text != document.text:
                results[number] = dataclasses.replace(cleaned[number], document=dataclasses.replace(document, text=text))
        return results


def formatted(texts: Iterable[str]) -> list[str]:
    """Python as ruff lays it out, all of it in one process; what ruff cannot read stays as it is."""
    given = list(texts)
    if not given:
        return []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.py" for number in range(len(given))]
        for path, text in zip(paths, given, strict=True):
            path.write_bytes(text.encode(errors="surrogatepass"))
        # Files that it cannot read make it end with an error, and leave the others formatted.
        subprocess.run([sys.executable, "-m", "ruff", *_RUFF_ARGUMENTS, folder], capture_output=True, check=False)
        return [path.read_bytes().decode(errors="surrogatepass") for path in paths]
