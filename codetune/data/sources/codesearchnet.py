"""CodeXGLUE code-to-text Python (Lu et al. 2021), that is CodeSearchNet (Husain et al. 2019): docstring to function.

Rows: https://huggingface.co/datasets/google/code_x_glue_ct_code_to_text, and https://github.com/github/CodeSearchNet (which has `url` and
`partition`). 251,820 rows to train on, 13,914 to validate, 14,918 to test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from codetune.data import codexglue
from codetune.data.files import Row
from codetune.data.read import Skipped
from codetune.data.sources.source import TRAINED, Hub, Source
from codetune.data_recipe import SourceConfig
from codetune.records import Document

_OURS = {"train": "train", "valid": "validation", "test": "test"}


def documents(row: Row, config: SourceConfig) -> Iterable[Document | Skipped]:
    """The wish is the docstring's first paragraph with its examples, the text the function without its docstring."""
    split = _OURS.get(row.text("partition", ""), config.split)
    if split and split not in ((config.split,) if config.split else TRAINED):
        yield Skipped(row.where, f"belongs to the split {split}")
        return
    given = next((row.values[key] for key in ("id", "idx") if isinstance(row.values.get(key), int | str)), None)
    pair = codexglue.problem(row, "" if given is None else f"CodeSearchNet/{split or 'train'}/{given}")  # else the file's name and the row
    repository = row.text("repo", "")
    place = row.text("url", "") or "/".join(part for part in (repository, row.text("path", "")) if part)
    facts = {"path": row.text("path", "")} if row.values.get("path") else {}
    yield replace(Document.of(pair), origin=place, group=repository, split=split, facts=facts)


SOURCE = Source(
    "codesearchnet",
    documents,
    "252 thousand documented Python functions of GitHub: docstring to function, the docstring taken out",
    wants=(("code", "docstring"),),
    schema="https://huggingface.co/datasets/google/code_x_glue_ct_code_to_text",
    files={
        "train": ("codesearchnet/train*", "codexglue-python/train*", "codesearchnet_python/train*"),
        "validation": ("codesearchnet/valid*", "codexglue-python/valid*", "codesearchnet_python/valid*"),
        "test": ("codesearchnet/test*", codexglue.FILE, "codesearchnet_python/test*"),
    },
    hub=Hub("google/code_x_glue_ct_code_to_text", "python"),
    columns=("id", "idx", "repo", "path", "code", "docstring", "url", "partition"),
)
