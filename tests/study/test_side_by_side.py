"""Two studies side by side: paired where the problems are the same, and only there; what differs and what is alone is named."""

import json
import shutil

import pytest
from study_fixture import HOSTILE, WAYS, build_study

from codetune.errors import UserError
from codetune.study.side_by_side import compare_studies, write_comparison


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return build_study(tmp_path_factory.mktemp("side") / "first", problems=40, ways=(WAYS[0], *WAYS[2:4]))


@pytest.fixture
def second(first, tmp_path):
    return shutil.copytree(first, tmp_path / "second")


def change_scores(folder, row, verdict):
    for path in (folder / "cells").glob("*/result.json"):
        result = json.loads(path.read_text())
        if result["cell"]["row"] != row:
            continue
        file = path.parent / "scores-basics-known.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for one in rows:
            one["result"]["verdict"] = verdict
        file.write_text("".join(json.dumps(one) + "\n" for one in rows))
        result["benchmarks"]["basics-known"] |= {"pass_at_k": {"1": float(verdict == "passed")}, "pass_at_k_ci95": {}}
        path.write_text(json.dumps(result))


def lines(shown, row, benchmark="basics-known"):
    (part,) = shown.parts
    return {line.metric: line for line in part.scores if (line.row, line.benchmark) == (row, benchmark)}


def test_a_study_beside_itself_differs_in_nothing(first, second):
    shown = compare_studies(first, second)
    assert shown.settings == shown.surroundings == ()
    assert shown.alone == ((), ())
    assert {line.difference for part in shown.parts for line in part.scores} == {"0.0"}
    assert not any(line.distinct for part in shown.parts for line in part.scores)
    assert lines(shown, "full")["pass@1"].words == "not told apart"
    assert lines(shown, "full")["ROUGE-L"].words == "no interval"


def test_a_real_difference_is_second_minus_first_and_told_apart(first, second):
    change_scores(second, "full", "wrong_answer")
    line = lines(compare_studies(first, second), "full")["pass@1"]
    assert line.words == "told apart"
    assert line.difference.startswith("−")
    assert line.second.text == "0.0"
    turned = lines(compare_studies(second, first), "full")["pass@1"]
    assert turned.difference == line.difference.replace("−", "+")


def test_other_problems_under_the_same_name_are_not_paired(first, second):
    file = second / "problems-basics-known.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[3]["instruction"] += " Quickly."
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = compare_studies(first, second)
    line = lines(shown, "full")["pass@1"]
    assert (line.words, line.interval, line.difference) == ("not paired: 39 of 40 problems are the same", "", "0.0")
    assert lines(shown, "full", "basics-unseen")["pass@1"].interval


def test_an_invalid_number_is_struck_out_with_its_cause_and_not_compared(first, second, tmp_path):
    path = next(p for p in (second / "cells").glob("*/result.json") if '"full"' in p.read_text())
    result = json.loads(path.read_text())
    result["gates"].append({"name": "finite_loss", "level": "invalid", "value": 2, "threshold": "= 0", "message": "2 losses were NaN"})
    path.write_text(json.dumps(result))
    line = lines(compare_studies(first, second), "full")["pass@1"]
    assert (line.first.valid, line.second.valid, line.second.cause, line.difference) == (True, False, "2 losses were NaN", "–")
    html = write_comparison(first, second)[0].read_text()
    assert "2 losses were NaN" in html
    (first / "compare.html").unlink()


def test_settings_that_differ_and_what_one_has_alone_are_named(first, second):
    recipe = json.loads((second / "study.json").read_text())
    recipe["few_shot"] = 5
    recipe["methods"].append({"name": "ia3", "label": ""})
    (second / "study.json").write_text(json.dumps(recipe))
    gone = next(p.parent for p in (second / "cells").glob("*/result.json") if '"row": "lora"' in p.read_text())
    shutil.rmtree(gone)
    shown = compare_studies(first, second)
    assert {(s.name, s.first, s.second) for s in shown.settings} == {
        ("few_shot", "3", "5"), ("methods[ia3].name", "–", "ia3"), ("methods[ia3].label", "–", ""),
    }  # fmt: skip
    assert shown.alone == (("lora of codetune-base on basics",), ())
    assert shown.summary.endswith("; 1 rows only in the first, 0 only in the second.")


def test_the_page_stands_alone_and_names_are_text(first, second):
    recipe = json.loads((second / "study.json").read_text())
    (second / "study.json").write_text(json.dumps(recipe | {"name": HOSTILE}))
    path, summary = write_comparison(first, second)
    html = path.read_text()
    assert path == first / "compare.html"
    assert summary in html
    assert "<script>alert" not in html
    assert "src=" not in html.replace("img src=x", "")
    again = write_comparison(first, second)[0].read_text()
    assert again == html
    path.unlink()


def test_a_folder_that_is_no_study_is_said(first, tmp_path):
    with pytest.raises(UserError, match="holds no study"):
        compare_studies(first, tmp_path)
