"""CoNaLa (Yin et al. 2018): the curated pairs, and the mined ones with the probability that each is right.

Rows: https://conala-corpus.github.io/ and https://huggingface.co/datasets/neulab/conala
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from codetune.data import conala
from codetune.data.files import Row
from codetune.data.read import Skipped
from codetune.data.sources.source import Hub, Source, name_of, number
from codetune.data_recipe import SourceConfig
from codetune.records import Document


def documents(row: Row, config: SourceConfig) -> Iterable[Document]:
    """`question_id` is not unique: it is the group."""
    question = name_of(row, "question_id")
    pair = conala.problem(row, f"{conala.TRAIN_PREFIX}{row.number}")
    yield replace(Document.of(pair), origin=f"https://stackoverflow.com/questions/{question}", group=question)


def mined(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    probability = number(row, "prob")
    if probability < config.min_score:
        yield Skipped(row.where, "probability below min_score")
        return
    question = name_of(row, "question_id")
    yield Document(
        id=f"CoNaLa/mined/{name_of(row, 'id')}",
        instruction=row.text("intent"),
        text=row.text("snippet"),
        origin=f"https://stackoverflow.com/a/{name_of(row, 'parent_answer_post_id')}",
        group=question,
        rank=probability,
    )


SOURCE = Source(
    "conala",
    documents,
    "2,379 wishes from Stack Overflow with a line or two of Python",
    wants=(("intent", "snippet"),),
    licence="CC BY-SA",
    schema="https://conala-corpus.github.io/",
    files={"train": (conala.TRAIN_FILE,)},
    hub=Hub("neulab/conala", files={"train": "data/conala-paired-train.json"}),
)
MINED = Source(
    "conala-mined",
    mined,
    "594 thousand pairs mined from Stack Overflow, each with the probability that it is right",
    wants=(("intent", "snippet", "prob"),),
    licence="CC BY-SA",
    schema="https://conala-corpus.github.io/",
    files={"train": ("conala/conala-mined.json*", "conala-mined/*")},
    hub=Hub("neulab/conala", files={"train": "data/conala-mined.json"}),
    settings=frozenset({"min_score"}),
)
