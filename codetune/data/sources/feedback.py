"""What users of the assistant said of its answers, as `codetune serve` keeps it: the good answers, never those that were rejected."""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data.files import Row
from codetune.data.own import tests_of
from codetune.data.read import Skipped
from codetune.data.sources.chat import messages
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """A conversation that ends with a good answer; of a mended program a pair with its tests.

    A conversation's rows have one group, so that no split tears them apart.
    """
    turns = row.values.get("messages")
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict) or turns[-1].get("role") != "assistant":
        yield Skipped(row.where, "no good answer")
        return
    if row.values.get("after_rejected"):  # all answers of a conversation are learned, and the one before was not good
        yield Skipped(row.where, "an earlier answer of the conversation was rejected")
        return
    said, id, group = messages(row, "messages"), row.text("id", ""), row.text("conversation", "")
    if row.values.get("tests"):
        instruction, code = row.text("instruction", "") or said[0].content, row.text("input", "")
        yield Document(
            id, text=said[-1].content, instruction=instruction, input=code, entry_point=row.text("entry_point", ""), tests=tests_of(row),
            group=group,
        )  # fmt: skip
        return
    yield Document(id, messages=said, language="", group=group)


SOURCE = Source(
    "feedback",
    documents,
    "the assistant's feedback.jsonl: good answers, votes, edits, mended programs",
    wants=(("messages", "rejected"),),
    schema="docs/page-api.md",
)
