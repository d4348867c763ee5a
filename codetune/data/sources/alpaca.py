"""Alpaca's form (Taori et al. 2023): `instruction`, an optional `input`, and `output`; and CodeAlpaca, which is in it.

Rows: https://github.com/tatsu-lab/stanford_alpaca#data-release and https://github.com/sahil280114/codealpaca
"""

from __future__ import annotations

from collections.abc import Iterable

from codetune.data.files import Row
from codetune.data.read import Skipped
from codetune.data.sources.source import Hub, Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """Public copies have rows without an answer. In which language an answer is, if it is code at all, the form does not say."""
    wish, extra, answer = row.text("instruction"), row.text("input", ""), row.text("output")
    if not wish.strip():
        raise row.error("'instruction' is empty; there is nothing to ask for")
    yield Document("", text=answer, instruction=wish, input=extra, language="") if answer.strip() else Skipped(row.where, "no answer")


SOURCE = Source(
    "alpaca",
    documents,
    "rows of instruction, input and output",
    wants=(("instruction", "output"),),
    schema="https://github.com/tatsu-lab/stanford_alpaca#data-release",
)
CODEALPACA = Source(
    "codealpaca",
    documents,
    "20 thousand instructions and answers about code, written by a language model",
    wants=SOURCE.wants,
    licence="CC BY-NC 4.0",
    schema="https://github.com/sahil280114/codealpaca",
    files={"train": ("codealpaca/*.json*",)},
    hub=Hub("sahil2801/CodeAlpaca-20k"),
)
