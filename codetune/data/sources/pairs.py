"""Rows of `prompt` and `completion`, as text or (as TRL has it) as lists of messages.

Rows: https://huggingface.co/docs/trl/dataset_formats (prompt-completion)
"""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data.files import Row
from codetune.data.read import Skipped
from codetune.data.sources.chat import messages
from codetune.data.sources.source import Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """A completion continues its prompt, letter by letter."""
    if isinstance(row.values.get("prompt"), list):
        yield Document("", messages=messages(row, "prompt", "completion"), language="")
        return
    prompt, completion = row.text("prompt"), row.text("completion")
    if not prompt:
        raise row.error("'prompt' is empty; rows without a prompt are plain text: {\"text\": ...}")
    yield Document("", text=completion, prompt=prompt, language="") if completion.strip() else Skipped(row.where, "no answer")


SOURCE = Source(
    "pairs",
    documents,
    "rows of prompt and completion",
    wants=(("prompt", "completion"),),
    schema="https://huggingface.co/docs/trl/dataset_formats",
)
