"""Cleaning of real data: what people wrote loses only what is broken, and what was mined loses what the published rules say."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetune.data.cleaning.cleaner import Cleaner
from codetune.data.cleaning.natural import fault
from codetune.data.files import read_rows
from codetune.data.sources import load_source
from codetune.data_recipe import FilterConfig
from codetune.records import Document

# How many documents each rule leaves out of data that people wrote; each was looked at. Of CodeAlpaca these are answers in Python with
# broken indentation, curly quotes, or the program's output after it.
HAND_WRITTEN = {"conala": {}, "mbpp": {}, "leetcode": {}, "codealpaca/code_alpaca_2k.json": {"parses": 33}}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written_data_loses_only_what_is_broken(name: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    documents = [Document.of(each) for each in load_source(str(data_folder / name) if "/" in name else name)]
    cleaned = Cleaner(FilterConfig()).clean(documents)
    rules = [each.rule for each in cleaned if each.document is None]
    assert {rule: rules.count(rule) for rule in rules} == HAND_WRITTEN[name]
    assert sum(len(each.masked) for each in cleaned) < 10


@pytest.mark.parametrize("name", ["conala", "mbpp", "codealpaca/code_alpaca_2k.json"])
def test_instructions_that_people_wrote_are_natural_language(name: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """False alarms well under one in a hundred."""
    monkeypatch.setenv("CODETUNE_DATA", str(data_folder))
    problems = load_source(str(data_folder / name) if "/" in name else name)
    assert sum(bool(fault(each.instruction, 3, 256, english=True)) for each in problems) < 0.004 * len(problems)


def test_codesearchnet(data_folder: Path) -> None:
    """Of 100 functions as they were mined, two are Python 2."""
    rows = read_rows(data_folder / "codesearchnet_python" / "train_sample_raw.jsonl")
    documents = [
        Document("1", row.text("code"), row.text("docstring").split("\n\n")[0], facts={"path": row.text("path")}) for row in rows
    ]
    dropped = [(number, each.rule) for number, each in enumerate(Cleaner(FilterConfig()).clean(documents)) if each.document is None]
    assert dropped == [(61, "python_2"), (83, "parses")]
