"""What a study concludes from its records: families of comparisons, groups, verdicts, power, text against execution, sentences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from study_fixture import WAYS, build_study

from codetune.score.comparisons import LEVEL, holm
from codetune.study.cells import read_problems, read_study
from codetune.study.conclusions import conclusions
from codetune.study.report import report_json
from codetune.study.summary import Block, blocks_of
from codetune.study.verdicts import model_verdicts, verdicts_of
from codetune.study.words import p_text

KNOWN = "basics-known"


def load(folder: Path) -> list[Block]:
    study = read_study(folder)
    return blocks_of(study, {name: read_problems(folder, name) for name in (KNOWN, "basics-unseen")})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_study(tmp_path_factory.mktemp("verdicts"), seeds=3, problems=60)


@pytest.fixture(scope="module")
def block(folder: Path) -> Block:
    (found,) = load(folder)
    return found


def test_a_family_is_every_pair_of_valid_rows_corrected_together(block: Block) -> None:
    family = block.family(KNOWN)
    assert len(family) == 6 * 5 / 2
    assert {d.family for d in family} == {15}
    assert [d.p_corrected for d in family] == holm([d.gap.p_value for d in family if d.gap])
    first = family[0]
    rows = {row.label: row for row in block.rows}
    turned = block.difference(rows[first.other], rows[first.row], KNOWN)
    assert turned is not None
    assert (turned.mean, turned.p_corrected, turned.low, turned.distinct) == (-first.mean, first.p_corrected, -first.high, first.distinct)


def test_told_apart_goes_by_the_corrected_p_value(block: Block) -> None:
    for one in verdicts_of(block).comparisons:
        assert one.told_apart == (one.p_corrected < LEVEL)
        assert one.p_value <= one.p_corrected
        # the corrected test is never bolder than the pair's own interval
        assert not one.told_apart or one.low > 0 or one.high < 0


def test_what_was_drawn_is_said(block: Block) -> None:
    covers = {(c.row, c.other): c.covers for c in verdicts_of(block).comparisons if c.benchmark == KNOWN}
    assert covers["base few-shot", "base"] == "problems"
    assert covers["lora", "base"] == "problems and seeds of lora"
    assert covers["lora", "full"] == "problems and seeds"


def test_the_verdict_is_the_best_row_that_is_told_from_the_base(block: Block) -> None:
    verdict = verdicts_of(block).verdict(KNOWN)
    assert verdict is not None
    assert (verdict.standing, verdict.row, verdict.base) == ("better", "full", "base")
    assert verdict.comparison is not None
    assert verdict.comparison.difference > 0.5
    assert set(verdict.rows) == {"full", "lora", "prefix_tuning", "prompt_tuning"}  # a few-shot prompt is no tuned row
    groups = verdicts_of(block).groups_on(KNOWN)
    assert groups is not None
    assert not set(groups.letters["full"]) & set(groups.letters["base"])


def test_an_invalid_row_is_in_no_family(tmp_path: Path) -> None:
    folder = build_study(tmp_path, problems=30, ways=WAYS[:4])
    path = next(p for p in (folder / "cells").glob("*/result.json") if json.loads(p.read_text())["cell"]["row"] == "full")
    result = json.loads(path.read_text())
    result["gates"].append({"name": "reload", "level": "invalid", "value": 0.5, "threshold": "<= 1e-05", "message": "reload differs"})
    path.write_text(json.dumps(result))
    (block,) = load(folder)
    assert {d.family for d in block.family(KNOWN)} == {3}
    sentences = conclusions([block])
    assert any(s.startswith("lora is better than its base model") for s in sentences)
    assert "full is left out: reload differs." in sentences
    assert sentences[-1].startswith("Every row is one run")


def test_equal_rows_are_better_than_nothing(tmp_path: Path) -> None:
    ways = (WAYS[0], *(type(way)(**{**vars_of(way), "known": WAYS[0].known, "unseen": WAYS[0].unseen}) for way in WAYS[2:5]))
    (block,) = load(build_study(tmp_path, seeds=3, problems=30, ways=ways))
    verdict = verdicts_of(block).verdict(KNOWN)
    assert verdict is not None
    assert verdict.standing == "not told apart"
    (model,) = model_verdicts([block])
    assert model.standing == "not told apart"
    assert conclusions([block])[0].startswith("No tuned row is better than the base model")


def vars_of(way: object) -> dict[str, object]:
    return {name: getattr(way, name) for name in way.__dataclass_fields__}  # type: ignore[attr-defined]


def test_the_report_says_all_of_it_as_data(folder: Path) -> None:
    found = json.loads(json.dumps(report_json(folder)))
    assert {"comparisons", "groups", "verdicts", "power", "text_against_execution", "conclusions"} <= found.keys()
    assert found["verdicts"]["models"][0]["standing"] == "better"
    assert found["verdicts"]["data"][0]["rows"]["full"] == "better"
    assert found["groups"][0]["letters"]["full"].startswith("a")
    plan = next(p for p in found["power"] if {p["row"], p["other"]} == {"lora", "full"})
    assert plan["level"] == pytest.approx(0.05 / 15)
    assert [one["seeds"] for one in plan["needed"]] == [3, 5, 10]
    needed = [one["problems"] for one in plan["needed"] if one["problems"]]
    assert needed == sorted(needed, reverse=True)  # more seeds, fewer problems
    bleu = next(one for one in found["text_against_execution"] if one["metric"] == "bleu")
    assert {"full", "base"} <= {point["row"] for point in bleu["points"]}
    assert 0 <= bleu["wrong_preference"]["share"] <= 1


def test_sentences_carry_the_records_numbers(block: Block) -> None:
    sentences, judged = conclusions([block]), verdicts_of(block)
    verdict = judged.verdict(KNOWN)
    assert verdict is not None
    assert verdict.comparison is not None
    assert f"{100 * verdict.comparison.difference:.1f} points of pass@1 on {KNOWN}" in sentences[0]
    assert "after correction for 15 comparisons" in sentences[0]
    pair = next(c for c in judged.comparisons if (c.row, c.other, c.benchmark) == ("lora", "full", KNOWN))
    alike = [s for s in sentences if s.startswith("full and lora cannot be told apart")]
    assert bool(alike) != pair.told_apart
    if alike:
        assert p_text(pair.p_corrected) in alike[0]
        assert re.search(r"lora needs \d+% of the memory", alike[0])


def test_of_several_data_sets_it_is_said_what_holds_in_all(tmp_path: Path) -> None:
    folder = build_study(tmp_path, problems=30, ways=WAYS[:4])
    for path in list((folder / "cells").glob("*/result.json")):  # the tuned rows once more, on other data
        result = json.loads(path.read_text())
        if result["train"] is None:
            result["cell"]["data"] = ""
            path.write_text(json.dumps(result))
            continue
        other = path.parent.with_name(path.parent.name + "-b")
        other.mkdir()
        for file in path.parent.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        result["cell"]["data"] = "conala"
        (other / "result.json").write_text(json.dumps(result))
    blocks = load(folder)
    sentences = conclusions(blocks)
    assert len(blocks) == 2
    assert sentences[0].startswith("codetune-base is better tuned than as it was: full")
    assert "lora is better than the base model in all of 2 model and data combinations." in sentences
    assert any(s.startswith("codetune-base on conala: full is better than its base model") for s in sentences)
    (model,) = model_verdicts(blocks)
    assert model.blocks == 2
