"""Plain code: rows of `text`, `content` or `code`, each a document of its own."""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data.files import Row
from codetune.data.languages import canonical
from codetune.data.read import Skipped
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document

_TEXTS, _LANGUAGES = ("text", "content", "code"), ("language", "lang")


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """A row that does not say its language is in the one that is asked for, where that is one."""
    text = row.text(next((key for key in _TEXTS if key in row.values), "text"))
    stated = next((canonical(row.text(key)) for key in _LANGUAGES if row.values.get(key)), "")
    if stated and stated not in map(canonical, config.languages):
        yield Skipped(row.where, "in another language")
    elif not text.strip():
        yield Skipped(row.where, "empty")
    else:
        language = stated or (canonical(config.languages[0]) if len(config.languages) == 1 else "")
        facts = {"path": row.text("path")} if isinstance(row.values.get("path"), str) else {}
        yield Document("", text=text, language=language, licence=row.text("license", ""), facts=facts)


SOURCE = Source(
    "text",
    documents,
    "plain code: rows of text, content or code",
    wants=tuple((name,) for name in _TEXTS),
    schema="https://huggingface.co/docs/trl/dataset_formats",
    settings=frozenset({"languages"}),
)
