"""The figures of a study: what is drawn from which records, what is left out, and that words do not lie on each other."""

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from grid_fixture import build_grid

from codetune.score.power_law import NoLaw, PowerLaw
from codetune.study.cells import read_problems, read_study
from codetune.study.figures import cost_figures, write_block_figures
from codetune.study.gates import Gate
from codetune.study.plot_labels import KeyEntry, key_lines, spread
from codetune.study.plots import PANEL_WIDTH, style_of, thinned
from codetune.study.plots_cost import count_text, pareto_front
from codetune.study.scaling import data_size, largest_data, loss_kind, loss_series, model_size, quality_series
from codetune.study.study_figures import write_study_figures
from codetune.study.summary import Block, blocks_of

SCALING = {f"study-data-{what}-{model}-basics" for what in ("quality", "loss") for model in ("tiny", "small")}
MODELS = {"study-models-quality", "study-models-loss", "study-models-speed", "study-models-memory"}
TOGETHER = {"study-cost-memory", "study-cost-time", "study-cost-share", "study-bleu-and-pass-rate"}
DIAGRAMS = {"study-pipeline", "study-methods"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_grid(tmp_path_factory.mktemp("grid"), models={"tiny": 8_000_000, "small": 36_000_000}, seeds=2, problems=6)


@pytest.fixture(scope="module")
def study(folder):
    return read_study(folder)


@pytest.fixture(scope="module")
def blocks(study, folder):
    return blocks_of(study, {"basics-known": read_problems(folder, "basics-known")})


@pytest.fixture(scope="module")
def styles(blocks):
    return style_of(list(dict.fromkeys(row.label for block in blocks for row in block.rows)))


@pytest.fixture(scope="module")
def drawn(study, blocks, styles, folder):
    return write_study_figures(study, blocks, folder / "plots", styles)


def texts_of(svg: str) -> list[str]:
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


def test_a_study_of_models_and_sizes_has_every_figure(drawn, folder):
    assert {figure.stem for figure in drawn} == SCALING | MODELS | TOGETHER | DIAGRAMS
    for figure in drawn:
        assert (folder / "plots" / f"{figure.stem}.png").read_bytes().startswith(b"\x89PNG")
        ElementTree.parse(folder / "plots" / f"{figure.stem}.svg")
        ElementTree.fromstring(figure.svg)
        assert "#ffffff" not in figure.svg
        assert "NaN" not in figure.svg


def test_a_figure_for_a_page_is_as_wide_as_a_phone_can_show(drawn):
    for figure in drawn:
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', figure.svg)[1])
        assert width <= 72 * PANEL_WIDTH + 1


def test_the_same_records_give_the_same_files(drawn, study, blocks, styles, tmp_path):
    before = {figure.stem: figure for figure in drawn}
    again = write_study_figures(study, [block for block in blocks if block.model == "tiny"], tmp_path, styles)
    scaling = [figure for figure in again if figure.stem in SCALING]
    assert len(scaling) == 2
    for figure in scaling:
        assert figure.svg == before[figure.stem].svg
        for ending in (".png", ".svg"):
            files = (one.path.with_name(one.path.name + ending) for one in (figure, before[figure.stem]))
            assert len({file.read_bytes() for file in files}) == 1


def test_all_models_stand_in_one_figure_and_their_bases_as_levels(drawn):
    texts = texts_of(next(figure.svg for figure in drawn if figure.stem == "study-cost-memory"))
    assert {"tiny", "small", "base, tiny", "base, small", "best for its cost", "peak memory of training"} <= set(texts)


def test_an_invalid_row_is_left_out_and_said_so(blocks, styles):
    block = next(block for block in blocks if block.model == "tiny" and block.data == "basics 4000")
    struck = Gate("finite_loss", "invalid", 2, "= 0", "2 losses were NaN")
    full = next(row for row in block.rows if row.label == "full")
    invalid = replace(full, cells=tuple(replace(cell, gates=(struck,)) for cell in full.cells))
    spoiled = replace(block, rows=tuple(invalid if row is full else row for row in block.rows))
    (before, after) = (cost_figures([one], styles)[0] for one in (block, spoiled))
    assert "Left out" not in before.caption
    assert after.caption.endswith("Left out, as invalid: full.")
    words = {text.get_text() for text in after.figure.findobj(lambda artist: hasattr(artist, "get_text"))}
    assert "full" not in words
    assert "lora" in words


def test_a_searched_row_has_its_ladder(blocks, styles, tmp_path):
    figures = {figure.stem: figure for figure in write_block_figures(blocks[0], tmp_path, "", styles)}
    texts = texts_of(figures["ladders"].svg)
    assert {"lora", "prefix_tuning", "prefix_tuning, zeros", "learning rate", "0.001"} <= set(texts)
    assert {"default", "best", "cut short", "failed, at the top"} <= set(texts)
    assert {"differences", "memory", "loss-training", "loss-validation", "bleu-and-tests", "bleu-and-pass-rate"} <= set(figures)
    gaps = [text for text in texts_of(figures["differences"].svg) if " − " in text]
    rows = len(blocks[0].rows)
    assert len(gaps) == rows * (rows - 1) / 2


def test_scaling_series_come_from_the_records(blocks):
    own = [block for block in blocks if block.model == "tiny"]
    assert sorted(data_size(block) for block in own) == [250, 1000, 4000]
    quality = quality_series(own, data_size, "basics-known")
    assert {line.row for line in quality} >= {"full", "lora", "prefix_tuning", "prompt_tuning", "lora tuned"}
    assert all(row != "base" for row in (line.row for line in quality))
    losses = {line.row: line for line in loss_series(own, data_size, loss_kind(own))}
    assert [point.size for point in losses["full"].points] == [250, 1000, 4000]
    assert all(len(point.runs) == 2 for point in losses["full"].points)
    laws = [line.law for line in losses.values() if isinstance(line.law, PowerLaw)]
    assert laws
    assert all(law.c is None and 0.15 < law.b < 0.27 for law in laws)  # the fixture's exponent is 0.21
    ends = largest_data(blocks)
    assert {block.data for block in ends} == {"basics 4000"}
    assert sorted(model_size(block) for block in ends) == [8_000_000, 36_000_000]
    two = loss_series(ends, model_size, loss_kind(ends))
    assert {type(line.law) for line in two} == {NoLaw}
    assert two[0].law.why == "2 sizes of the 3 that two parameters need"


def test_captions_say_laws_and_why_there_is_none(drawn):
    captions = {figure.stem: figure.caption for figure in drawn}
    said = r"\w+: L = [\d.]+ N\^−0\.\d+, exponent 0\.\d+ \(95% interval 0\.\d+ to 0\.\d+; 6 runs of 3 sizes\)"
    assert re.search(said, captions["study-data-loss-tiny-basics"])
    assert "full: no law, 2 sizes of the 3 that two parameters need" in captions["study-models-loss"]


def test_diagrams_say_what_the_study_has(drawn):
    figures = {figure.stem: texts_of(figure.svg) for figure in drawn}
    assert {"Problem", "Training", "Comparison", "6 of basics-known", "2 training seeds"} <= set(figures["study-pipeline"])
    said = " ".join(figures["study-methods"])
    assert "full: 100%" in said
    assert said.count("not in this study") == 4  # IA3, bottleneck, BitFit, LN-tuning
    assert re.search(r"lora: \d\.\d\d% to 6\.31%", said)


def test_a_study_of_one_block_has_the_diagrams_alone(study, blocks, styles, tmp_path):
    assert {figure.stem for figure in write_study_figures(study, blocks[:1], tmp_path, styles)} == DIAGRAMS
    empty = replace(study, cells=())
    assert write_study_figures(empty, [], tmp_path, styles) == []
    bare = Block("tiny", "basics", (), {}, {})
    assert write_block_figures(bare, tmp_path, "", styles) == []


def test_the_front_has_what_nothing_beats():
    assert pareto_front([(1, 0.2), (2, 0.5), (2, 0.6), (3, 0.6), (4, 0.9), (5, 0.1)]) == [0, 2, 4]
    assert pareto_front([]) == []


def test_labels_keep_their_distance_and_their_order():
    placed = spread([5.0, 5.0, 5.1, 20.0, 4.9], 2.0)
    ordered = sorted(placed)
    assert all(later - earlier >= 2.0 - 1e-9 for earlier, later in pairwise(ordered))
    assert placed[3] == 20.0
    assert sum(placed[:3] + placed[4:]) == pytest.approx(20.0)  # least squares keep the mean
    lines = key_lines([KeyEntry(f"a row of some length {n}", "#000000", "o") for n in range(5)], PANEL_WIDTH)
    assert sum(len(line) for line in lines) == 5
    assert len(lines) > 1


def test_long_curves_are_thinned_to_the_means_of_their_parts():
    curve = [(float(n), 2.0 * n) for n in range(1000)]
    assert thinned(curve, 10)[0] == (49.5, 99.0)
    assert len(thinned(curve, 10)) == 10
    assert thinned(curve[:5], 10) == curve[:5]


def test_counts_are_short():
    assert [count_text(number) for number in (250, 1000, 1250, 124_439_808, 7e9, 999_900)] == ["250", "1k", "1.25k", "124M", "7B", "1M"]


def test_searched_rows_have_the_colour_of_their_method_and_hollow_marks():
    styles = style_of(["base", "lora", "lora tuned", "mine tuned", "mine"])
    assert styles["lora tuned"].light == styles["lora"].light
    assert styles["lora tuned"].hollow
    assert not styles["lora"].hollow
    assert styles["mine tuned"].light == styles["mine"].light
