"""Printed figures stand beside ours by model and row, a difference only where both are of the same thing; and none has no source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from study_fixture import build_study

from codetune.errors import UserError
from codetune.study.cells import read_study
from codetune.study.published import Figure, Published, beside, published
from codetune.study.stand_ins import STAND_IN
from codetune.study.summary import Block, blocks_of

STUDIES = ("conala", "codexglue", "interview")


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> Block:
    return blocks_of(read_study(build_study(tmp_path_factory.mktemp("study"), problems=40)), {})[0]


def printed(block: Block, **changes: object) -> Published:
    figure = replace(Figure(block.model, "lora", "trainable_share", 0.01, "1%", "a table"), **changes)  # type: ignore[arg-type]
    return Published("x", "X", "", (), (figure,))


@pytest.mark.parametrize("name", STUDIES)
def test_every_figure_has_a_source_and_is_a_fraction_or_bytes(name: str) -> None:
    study = published(name)
    assert study.not_known
    for figure in study.figures:
        assert figure.source
        assert figure.printed
        assert figure.metric == "peak_memory_bytes" or 0 <= figure.value <= 1, figure
    named = [(figure.model, figure.row, figure.metric) for figure in study.figures]
    assert len(set(named)) == len(named)


def test_what_is_known_of_the_grid_on_conala() -> None:
    figures = {(figure.model, figure.row, figure.metric): figure for figure in published("conala").figures}
    assert figures["GPT-2 1.6B", "lora", "peak_memory_bytes"].value == 48.94e9
    assert figures["GPT-2 124M", "prompt_tuning", "trainable_share"].value == 0.00012
    assert figures["Mistral-7B", "full", "conala:bleu"].value == 0.00019
    assert ("Mistral-7B", "prefix_tuning", "peak_memory_bytes") not in figures  # a dash in print


def test_a_figure_stands_beside_its_row(block: Block) -> None:
    (one,) = beside(printed(block), block)
    row = next(row for row in block.rows if row.label == "lora")
    assert (one.row, one.ours, one.why) == ("lora", row.trainable_share, "")
    assert one.difference == pytest.approx((row.trainable_share or 0) - 0.01)
    assert beside(printed(block, model="another"), block) == ()


def test_where_there_is_no_difference_it_says_why(block: Block) -> None:
    (ranged,) = beside(printed(block, high=0.02), block)
    assert (ranged.difference, ranged.why) == (None, "a range is printed")
    (unmeasured,) = beside(printed(block, metric="nothing:bleu"), block)
    assert (unmeasured.ours, unmeasured.difference, unmeasured.why) == (None, None, "not measured here")
    unknown = beside(printed(block, row=""), block)
    assert {one.row for one in unknown} == {row.label for row in block.rows if not row.is_base}
    assert {one.why for one in unknown if one.ours is not None} == {"not known which row it is of"}


def test_a_stand_in_is_shown_and_never_subtracted(block: Block) -> None:
    (one,) = beside(printed(block), replace(block, model=block.model + STAND_IN))
    assert one.ours is not None
    assert one.difference is None
    assert "tiny stand-in" in one.why


def test_an_unknown_study_is_one_line() -> None:
    with pytest.raises(UserError, match="published: no study 'conola'; did you mean 'conala'"):
        published("conola")


def test_the_file_is_in_the_package() -> None:
    assert (Path(__file__).resolve().parents[2] / "codetune/assets/published.json").exists()
