"""A blind sheet tells a judge nothing of the rows; votes come back checked, kept, counted per problem, and stand in the report."""

import json
import random
import re
import shutil

import pytest
from study_fixture import HOSTILE, WAYS, build_study

from codetune.errors import UserError
from codetune.study.cells import read_outcomes, read_study
from codetune.study.judge import Choice, write_sheet
from codetune.study.report import write_report
from codetune.study.votes import add_votes, checksum, preference_sentences, read_judgements


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return build_study(tmp_path_factory.mktemp("judge") / "study", problems=30, ways=(WAYS[0], *WAYS[2:4]))


@pytest.fixture
def sheet(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "study")
    written = write_sheet(folder, Choice(("full", "base"), "basics-known", problems=20), tmp_path / "sheet.html")
    return folder, written, json.loads(written.key.read_text())


def votes_file(path, key, judge, choose, questions=("correctness", "readability")):
    """As the page's button writes it; `choose(pair)` gives left, right, same or None."""
    given = {pair["pair"]: choose(pair) for pair in key["pairs"] if pair["asked"]}
    votes = {pair: dict.fromkeys(questions, side) for pair, side in given.items() if side}
    path.write_text(json.dumps({
        "format": "codetune votes 1", "sheet": key["sheet"], "judge": judge, "votes": votes, "check": checksum(key["sheet"], judge, votes),
    }))  # fmt: skip
    return path


def side_of(pair, row):
    return "left" if pair["left"]["row"] == row else "right"


def page_data(page):
    html = page.read_text()
    return html, json.loads(re.search(r'<script type="application/json" id="sheet-data">(.*?)</script>', html, re.DOTALL)[1])


def test_the_page_does_not_say_which_row_is_which_and_the_key_does(sheet):
    folder, written, key = sheet
    html, data = page_data(written.page)
    assert written.asked == len(data["pairs"])
    assert written.asked + written.identical == len(key["pairs"]) == 20
    assert set(data["pairs"][0]) == {"pair", "task", "reference", "left", "right"}
    assert not re.search(r"\bfull\b|\bbase\b|task_id|codetune-base|verdict|quickstart", json.dumps(data))
    assert not re.search(r"https?://|<script[^>]+src|@import", html)
    assert "<script>alert" not in html
    assert {pair["left"]["row"] for pair in key["pairs"]} == {"full", "base"}  # neither row always stands left
    written_by = {(c.row, o.task_id): o.completion for c in read_study(folder).cells for o in read_outcomes(c, "basics-known")}
    shown = {pair["pair"]: pair for pair in data["pairs"]}
    for pair in key["pairs"]:
        for side in ("left", "right"):
            text = written_by[pair[side]["row"], pair["task_id"]].strip("\n")
            assert shown[pair["pair"]][side] == text if pair["asked"] else pair["left"]["text"] == pair["right"]["text"]


def test_a_hostile_completion_is_text_in_the_sheet(made, tmp_path):
    written = write_sheet(made, Choice(("full", "base"), "basics-known", problems=30), tmp_path / "sheet.html")
    html, data = page_data(written.page)
    assert any(HOSTILE.strip("\n") in (pair["left"], pair["right"]) for pair in data["pairs"])
    assert "<script>alert" not in html


def test_the_same_seed_gives_the_same_sheet_and_another_another(made, tmp_path):
    rows = ("full", "lora")
    pages = [write_sheet(made, Choice(rows, "basics-known", 10, seed), tmp_path / f"{n}.html") for n, seed in enumerate((0, 0, 1))]
    first, again, other = (page.page.read_bytes() for page in pages)
    assert first == again != other


def test_votes_become_a_rate_with_wilsons_interval_and_ties_are_stated(sheet, tmp_path):
    folder, _, key = sheet
    asked = [pair["pair"] for pair in key["pairs"] if pair["asked"]]
    answers = {pair: "full" if n < 9 else "base" if n < 12 else "same" for n, pair in enumerate(asked)}
    choose = lambda pair: "same" if answers[pair["pair"]] == "same" else side_of(pair, answers[pair["pair"]])  # noqa: E731
    (judgement,) = add_votes(folder, [votes_file(tmp_path / "v.json", key, "Ada", choose)])
    one = judgement.preferences[0]
    assert (one.question, one.first, one.second, one.same, one.rate) == ("correctness", 9, 3, len(asked) - 12, 0.75)
    assert (one.low, one.high) == (pytest.approx(0.4677, abs=1e-4), pytest.approx(0.9111, abs=1e-4))  # Wilson, 9 of 12
    said = preference_sentences(judgement)[0]
    assert said == f"correctness: full over base in 75.0% (46.8 to 91.1; 9 of 12 decided votes; {len(asked) - 12} votes for neither)"
    assert read_judgements(folder) == [judgement]
    add_votes(folder, [votes_file(tmp_path / "v.json", key, "Ada", lambda pair: side_of(pair, "base"))])  # again: in place of the first
    (judgement,) = read_judgements(folder)
    assert (judgement.judges, judgement.preferences[0].rate) == (("Ada",), 0.0)


def test_several_judges_are_clustered_by_problem(sheet, tmp_path):
    folder, _, key = sheet
    full = lambda pair: side_of(pair, "full" if int(pair["pair"]) % 4 else "base")  # noqa: E731
    add_votes(folder, [votes_file(tmp_path / "one.json", key, "Ada", full)])
    (alone,) = read_judgements(folder)
    (all_alike,) = add_votes(folder, [votes_file(tmp_path / f"{name}.json", key, name, full) for name in ("Bob", "Cy", "Di")])
    assert all_alike.judges == ("Ada", "Bob", "Cy", "Di") or len(all_alike.judges) == 4
    assert all_alike.agreement == 1.0
    first, many = alone.preferences[0], all_alike.preferences[0]
    assert many.first + many.second == 4 * (first.first + first.second)
    # Four judges who say the same of each problem tell no more about the problems that were not asked: the interval is the same.
    assert (many.rate, many.low, many.high) == pytest.approx((first.rate, first.low, first.high))


def test_votes_are_held_against_the_tests(sheet, tmp_path):
    folder, _, key = sheet
    differ = [p for p in key["pairs"] if p["asked"] and (p["left"]["verdict"] == "passed") != (p["right"]["verdict"] == "passed")]
    assert len(differ) > 5
    right = lambda pair: "left" if pair["left"]["verdict"] == "passed" else "right"  # noqa: E731
    (judgement,) = add_votes(folder, [votes_file(tmp_path / "v.json", key, "Ada", right)])
    assert judgement.executed == (len(differ), len(differ))


def test_votes_stand_in_the_report_beside_the_metrics_the_same_every_time(sheet, tmp_path):
    folder, _, key = sheet
    before = write_report(folder)
    assert "Human judgement" not in before.html.read_text()
    files = [votes_file(tmp_path / f"{n}.json", key, f"<b>{n}</b>", lambda pair: side_of(pair, "full")) for n in range(2)]
    add_votes(folder, files)
    report = write_report(folder)
    html, markdown = report.html.read_text(), report.markdown.read_text()
    assert "Human judgement" in html
    assert "full and base on basics-known" in html
    assert "pass@1: base" in html
    assert "| correctness |" in markdown
    assert "<b>0</b>" not in html
    assert write_report(folder).html.read_text() == html


def test_the_checksum_is_the_one_that_the_sheets_script_computes():
    """The value is what judge.js gave for these votes."""
    assert checksum("s", "Zoë", {"001": {"correctness": "left"}}) == "0e24bb96"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(sheet="0123456789abcdef"), "which was not made from"),
        (lambda v: v["votes"].update({next(iter(v["votes"])): {"correctness": "same"}}), "changed after it was exported"),
        (lambda v: v["votes"].update({next(iter(v["votes"])): {"correctness": "full"}}), "is no vote (left, right or same on"),
        (lambda v: v["votes"].update({next(iter(v["votes"])): {"beauty": "left"}}), "'beauty': 'left' is no vote"),
        (lambda v: v["votes"].update({next(iter(v["votes"])): "left"}), "is no vote"),
        (lambda v: v["votes"].update({"999": {"correctness": "left"}}), "a pair '999' that the sheet does not have"),
        (lambda v: v.update(judge="  "), "does not say who judged"),
        (lambda v: v.update(judge="Eve"), "changed after it was exported"),
        (lambda v: v.update(sheet=["../.."]), "which was not made from"),
        (lambda v: v.pop("format"), "is no votes file"),
        (lambda v: v.update(votes=[1]), "is no votes file"),
    ],
)
def test_tampered_and_foreign_votes_are_refused_in_one_line_and_nothing_is_kept(sheet, tmp_path, change, said):
    folder, _, key = sheet
    good = votes_file(tmp_path / "good.json", key, "Bob", lambda pair: "same")
    path = votes_file(tmp_path / "votes.json", key, "Ada", lambda pair: random.Random(pair["pair"]).choice(("left", "right")))
    votes = json.loads(path.read_text())
    change(votes)
    path.write_text(json.dumps(votes))
    with pytest.raises(UserError) as error:
        add_votes(folder, [good, path])
    assert said in str(error.value)
    assert "votes.json" in str(error.value)
    assert "\n" not in str(error.value)
    assert read_judgements(folder) == []


def test_damaged_files_and_a_changed_key_are_named(sheet, tmp_path):
    folder, written, key = sheet
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(UserError, match=r"bad\.json cannot be read as votes"):
        add_votes(folder, [bad])
    with pytest.raises(UserError, match="no file"):
        add_votes(folder, [tmp_path / "none.json"])
    good = votes_file(tmp_path / "a.json", key, "Ada", lambda pair: "left")
    other = votes_file(tmp_path / "b.json", key, "Ada", lambda pair: "right")
    with pytest.raises(UserError, match="other votes of 'Ada'"):
        add_votes(folder, [good, other])
    kept = folder / "judgements" / key["sheet"] / "key.json"
    assert kept.read_text() == written.key.read_text()
    changed = json.loads(kept.read_text())
    changed["pairs"][0]["left"], changed["pairs"][0]["right"] = changed["pairs"][0]["right"], changed["pairs"][0]["left"]
    kept.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="is no key of a sheet, or was changed"):
        add_votes(folder, [good])


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(("full", "loraa"), "basics-known"), "'loraa' is no row .* did you mean 'lora'"),
        (Choice(("full", "lora"), "basic-known"), "'basic-known' is no benchmark .* did you mean 'basics-known'"),
        (Choice(("lora", "lora"), "basics-known"), "two different rows"),
        (Choice(("full", "lora"), "basics-known", model="gpt9"), "no cells of --model 'gpt9'.*choose one of --model 'codetune-base'"),
    ],
)
def test_what_cannot_be_compared_is_said_with_what_is_there(made, tmp_path, choice, said):
    with pytest.raises(UserError, match=said):
        write_sheet(made, choice, tmp_path / "sheet.html")
