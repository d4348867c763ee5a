"""The report as a reader gets it: self-contained, safe against what models write, honest about what is missing, the same twice."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from study_fixture import WAYS, build_study

from codetune.errors import UserError
from codetune.study.examples import MAX_CHARACTERS, capped, highlighted, spread_out
from codetune.study.plots import style_of
from codetune.study.rendering import fenced, plain
from codetune.study.report import report_json, write_report

VOID = {"meta", "link", "img", "br", "hr", "input", "path", "use", "rect"}
HOSTILE = "</code></pre><script>alert('owned')</script><img src=x onerror=alert(1)>"


class Checker(HTMLParser):
    """Collects tags and the text outside style and script; complains about tags that do not nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text, self.scripts = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text.append(data)


def parse(path):
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert checker.open == []
    return checker


def edit(folder, row, change):
    for path in (folder / "cells").glob("*/result.json"):
        result = json.loads(path.read_text())
        if row in (None, result["cell"]["row"]):
            change(path.parent, result)
            path.write_text(json.dumps(result))


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    folder = build_study(tmp_path_factory.mktemp("study") / "quickstart", problems=40)
    return folder, write_report(folder)


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written[0], tmp_path / "quickstart")


def test_the_page_is_well_formed_and_needs_nothing_else(written):
    page = parse(written[1].html)
    loading = ("script", "link", "img", "iframe", "source")
    loaded = [attrs.get("src") or attrs.get("href") or "" for tag, attrs in page.tags if tag in loading]
    assert all(link == "" or link.startswith("data:") for link in loaded)
    html = written[1].html.read_text()
    assert not re.search(r"@import|url\(\s*['\"]?(?!#)", html)
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert all(link.startswith(("#", "plots/")) for link in links)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_what_a_model_wrote_is_text_and_never_markup(folder):
    def poison(path, result):
        for file in path.glob("*-basics-known.jsonl"):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            for row in rows:
                row |= {"program": HOSTILE, "completion": HOSTILE}
                if row.get("result"):
                    row["result"]["detail"] = HOSTILE
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        result["gates"].append({"name": "x", "level": "warning", "value": 1, "threshold": HOSTILE, "message": HOSTILE})
        result["provenance"]["versions"]["<script>"] = HOSTILE

    edit(folder, "base", poison)
    file = folder / "problems-basics-known.jsonl"
    problems = [json.loads(line) | {"instruction": HOSTILE, "reference": HOSTILE} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in problems))
    report = write_report(folder)
    page = parse(report.html)
    assert page.scripts == 4  # the page's own: theme, completions as data, browsing, tables
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert "".join(page.text).count(HOSTILE) >= 10
    outside_code = re.sub(r"^(`{3,})python\n.*?^\1$", "", report.markdown.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside_code
    assert "<img" not in outside_code


def test_markup_in_names_stays_text(folder):
    edit(folder, "lora", lambda path, result: result["cell"].update(row="<b>$x_1$</b>"))
    page = parse(write_report(folder).html)
    assert not any(tag == "b" and page.tags[n + 1 :] == [] for n, (tag, _) in enumerate(page.tags))
    assert "<b>$x_1$</b>" in "".join(page.text)


def test_the_headline_says_who_won_by_how_much_and_at_what_cost(written):
    (headline,) = written[1].headlines
    assert re.fullmatch(
        r"On basics-known full passes the tests of [\d.]+% of the problems \(95% interval [\d.]+ to [\d.]+\), "
        r"[\d.]+ points over the base model \([\d.]+ to [\d.]+\), and [\d.]+ points over lora \(−?[\d.]+ to [\d.]+\), "
        r"so the two can(not)? be told apart; it trained 100% of the parameters in 1 min 4 s and 2.3 GB of memory at its peak\.",
        headline,
    )
    cells = {cell["method"]: cell for cell in report_json(written[0])["cells"]}
    assert f"{100 * cells['full']['metrics']['basics-known:pass@1']:.1f}%" in headline
    assert headline in "".join(parse(written[1].html).text)


def test_json_is_the_contract(written):
    found = json.loads(json.dumps(report_json(written[0]), allow_nan=False))
    cells = {cell["method"]: cell for cell in found["cells"]}
    assert list(cells) == ["base", "base few-shot", "full", "lora", "prefix_tuning", "prompt_tuning"]
    assert {"model", "method", "data", "seeds", "metrics", "ci95", "trainable_share", "peak_memory_bytes", "train_seconds", "tokens_per_s",
            "valid", "invalid_cause", "invalid_on", "marks", "measures", "measures_range", "struck_metrics",
            "diagnosis"} == set(cells["full"])  # fmt: skip
    assert cells["base"]["trainable_share"] is None
    assert cells["lora"]["peak_memory_bytes"] == 2_050_000_000
    for name, (low, high) in cells["lora"]["ci95"].items():
        assert low <= cells["lora"]["metrics"][name] <= high
    assert {"basics-known:pass@1", "basics-unseen:pass@1", "basics-known:bleu"} <= set(cells["lora"]["ci95"])


def test_the_same_records_give_the_same_bytes(written, folder):
    again = write_report(folder)
    before, after = ((report.html, report.markdown, *report.plots) for report in (written[1], again))
    for first, second in zip(before, after, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


TEXT_FIGURES = {
    "quality", "differences", "cost-memory", "cost-time", "cost-share", "loss-training", "loss-validation", "study-pipeline",
    "study-methods",
}  # fmt: skip


def test_every_figure_is_a_png_and_an_svg_and_stands_in_the_page(written):
    plots = {path.name for path in written[1].plots}
    stems = TEXT_FIGURES | {"bleu-and-tests", "bleu-and-pass-rate"}
    assert plots == {f"{stem}.{ending}" for stem in stems for ending in ("png", "svg")}
    for path in written[1].plots:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        else:
            assert path.read_bytes().startswith(b"\x89PNG")
    page = written[1].html.read_text()
    figures = re.findall(r"<svg .*?</svg>", page, flags=re.DOTALL)
    assert len(figures) == len(stems)
    for figure in figures:
        ElementTree.fromstring(figure)
        assert not re.search(r"font(-family)?:", figure)  # nor a font that a reader may not have
        assert "#0072b2" not in figure.lower()  # colours follow the page's light or dark mode
    assert any("var(--row-" in figure for figure in figures)


def test_no_best_is_marked_where_all_are_equal(tmp_path):
    ways = tuple(dataclasses.replace(way, unseen=1e-9) for way in WAYS)
    report = write_report(build_study(tmp_path, problems=30, ways=ways))
    markdown = report.markdown.read_text()
    assert "**0.0**" not in markdown
    assert "**" in markdown


def test_an_invalid_row_is_struck_out_with_its_cause(folder):
    cause = {"name": "finite_loss", "level": "invalid", "value": 2, "threshold": "= 0", "message": "2 of 146 losses were NaN or infinite"}
    edit(folder, "full", lambda path, result: result["gates"].append(cause))
    report = write_report(folder)
    html = report.html.read_text()
    struck = html[html.index('<tr class="invalid">') :]
    assert "2 of 146 losses were NaN or infinite" in struck[: struck.index("</tr>")]
    assert report.headlines[0].startswith("On basics-known lora passes")
    assert "~~full~~ invalid: 2 of 146 losses were NaN or infinite" in report.markdown.read_text()


def test_a_codebleu_that_says_nothing_is_struck_out_alone(folder):
    name = "basics-known:codebleu_without_bleu"
    gate = {"name": name, "level": "warning", "value": 0.25, "threshold": "", "message": "CodeBLEU of nothing"}
    edit(folder, "base", lambda path, result: result["gates"].append(gate))
    report = write_report(folder)
    html = report.html.read_text()
    assert html.count('<td class="num invalid"') == 1
    line = next(line for line in report.markdown.read_text().splitlines() if line.startswith("| base invalid: CodeBLEU on basics-known"))
    assert [cell.count("~~") for cell in line.split("|")[2:9]] == [0, 0, 0, 2, 0, 0, 0]
    assert "CodeBLEU of nothing" in html


def test_what_the_evidence_points_to_stands_in_the_report_with_what_to_do(folder):
    found = {"cause": "eos", "grade": "certain", "evidence": "only 3% end with <EOS>", "remedy": "end every text with an EOS"}
    edit(folder, "full", lambda path, result: result.update(diagnosis=[found]))
    report = write_report(folder)
    text = "".join(parse(report.html).text)
    assert "only 3% end with <EOS>" in text
    assert "What to do: end every text with an EOS" in text
    assert "only 3% end with &lt;EOS&gt;" in report.markdown.read_text()


def test_several_models_have_one_table_over_all_with_code_rows_shaded(folder):
    for path in (folder / "cells").glob("*/result.json"):
        result = json.loads(path.read_text())
        copy = shutil.copytree(path.parent, path.parent.with_name("other-" + path.parent.name))
        result["cell"] |= {"model": "codegpt", "factors": {"pretrained_on": "both"}}
        (copy / "result.json").write_text(json.dumps(result))
    report = write_report(folder)
    html, markdown = report.html.read_text(), report.markdown.read_text()
    overview = html[html.index('<section id="overview">') :]
    overview = overview[: overview.index("</section>")]
    assert overview.count("<tr class=") == 1 + 12  # the heading's
    assert overview.count('<tr class=" code">') == 6
    first, other = overview.split("<tbody class=\"title\">")[1:]
    for mark in ("num best", "num second"):  # six quality columns, in each model by itself; equals share a mark
        assert first.count(mark) == other.count(mark) >= 6
    assert html.count("<details class=\"block\"") == 2
    assert "pre-trained on text and code" in overview
    rows = [line for line in markdown.splitlines() if line.startswith("| codegpt on basics |")]
    assert len(rows) == 6
    assert all("‡code" in line for line in rows)
    parse(report.html)


def overlapping(level, message):
    def change(path, result):
        result["gates"] = [gate for gate in result["gates"] if gate["name"] != "basics-known:train_test_overlap"]
        gate = {"name": "basics-known:train_test_overlap", "level": level, "value": 0.1, "threshold": "<= 0", "message": message}
        result["gates"].append(gate)

    return change


def test_a_score_whose_test_was_trained_on_is_struck_out_alone(folder):
    """On the other benchmark the row stands; only `valid` says that not all of it does."""
    edit(folder, "full", overlapping("invalid", "6 of 60 problems overlap the training data"))
    report = write_report(folder)
    html, markdown = report.html.read_text(), report.markdown.read_text()
    assert report.headlines[0].startswith("On basics-known lora passes")
    assert html.count('<td class="num invalid"') == 5  # its pass@1 and the four text metrics on basics-known
    line = next(line for line in markdown.splitlines() if line.startswith("| full invalid: basics-known: 6 of 60 problems overlap"))
    assert [cell.count("~~") for cell in line.split("|")[2:9]] == [2, 0, 2, 2, 2, 2, 0]  # known, unseen, four text metrics, cost
    assert "no row is invalid, 1 score of valid rows is" in markdown
    cells = {cell["method"]: cell for cell in report_json(folder)["cells"]}
    assert (cells["full"]["valid"], cells["lora"]["valid"]) == (False, True)
    assert cells["full"]["invalid_cause"] == "basics-known: 6 of 60 problems overlap the training data"
    assert cells["full"]["invalid_on"] == {"basics-known": "6 of 60 problems overlap the training data"}
    assert cells["full"]["marks"] == {}


def test_a_score_that_is_published_anyway_is_marked_wherever_it_stands(folder):
    message = "6 of 60 problems overlap the training data, published anyway"
    edit(folder, "full", overlapping("warning", message))
    report = write_report(folder)
    html, markdown = report.html.read_text(), report.markdown.read_text()
    assert f"({message})" in report.headlines[0]
    assert html.count(f'title="{message}">†overlap</a>') == 5
    assert f"full on basics-known: {message}" in html
    note = "†overlap: the training data overlaps the test, and the recipe publishes the score anyway"
    assert f"{note}: full on basics-known: {message}." in markdown
    line = next(line for line in markdown.splitlines() if line.startswith("| full |") and "†overlap" in line)
    assert ["†overlap" in cell for cell in line.split("|")[2:9]] == [True, False, True, True, True, True, False]
    full = next(cell for cell in report_json(folder)["cells"] if cell["method"] == "full")
    assert (full["valid"], full["invalid_on"], full["marks"]) == (True, {}, {"basics-known": message})


def test_what_of_the_training_data_was_left_out_is_in_the_report(folder):
    example = {"document": "mine/17", "benchmark": "basics-known", "task_id": "basics/known/0006", "rule": "text", "share": 0.4}
    part = {"documents": 3, "problems": 2, "by_rule": {"text": 3}, "examples": [example]}
    found = {"documents": 4800, "overlapping": 3, "left_out": True, "benchmarks": {"basics-known": part}}
    edit(folder, None, lambda path, result: result.update(train_test_overlap=found))
    report = write_report(folder)
    said = "3 of 4,800 documents overlap 2 problems, left out; mine/17 has basics/known/0006 (text, 40%)"
    assert said in "".join(parse(report.html).text)
    assert said.replace("_", "&#95;") in report.markdown.read_text()


def test_unfinished_cells_are_named_and_left_out(folder):
    edit_path = next(p for p in (folder / "cells").glob("*/result.json") if '"full"' in p.read_text())
    edit_path.unlink()
    report = write_report(folder)
    assert [cell.label for cell in report.unfinished] == ["full · basics · 0"]
    assert "1 of 6 cells are not finished" in "".join(parse(report.html).text)
    assert "full · basics · 0" in report.markdown.read_text()
    assert report_json(folder)["unfinished"][0]["state"] == "trained, not yet evaluated in full"


def test_a_study_without_a_finished_cell_still_reports(tmp_path):
    (tmp_path / "cells" / "abc").mkdir(parents=True)
    report = write_report(tmp_path)
    assert "No cell of this study is finished yet" in "".join(parse(report.html).text)
    assert report.plots == ()
    assert report_json(tmp_path)["cells"] == []
    with pytest.raises(UserError, match="holds no study"):
        write_report(tmp_path / "cells" / "abc")


def text_only(path, result):
    known = result["benchmarks"].pop("basics-known")
    for key in ("pass_at_k", "pass_at_k_ci95", "verdicts", "sandbox_tier"):
        known.pop(key, None)
    result["benchmarks"] = {"wishes": known}
    rows = [json.loads(line) | {"result": None} for line in (path / "scores-basics-known.jsonl").read_text().splitlines()]
    (path / "scores-wishes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_without_tests_bleu_decides_with_a_bootstrap_interval(folder):
    edit(folder, None, text_only)
    (folder / "problems-basics-known.jsonl").rename(folder / "problems-wishes.jsonl")
    report = write_report(folder)
    sentence = r"On wishes full reaches a BLEU of [\d.]+ \(95% interval [\d.]+ to [\d.]+\), [\d.]+ points over the base"
    assert re.match(sentence, report.headlines[0])
    assert "pass@1" not in "".join(parse(report.html).text)
    assert {path.stem for path in report.plots} == TEXT_FIGURES


def test_without_references_bleu_has_no_interval_and_says_so(folder):
    edit(folder, None, text_only)
    report = write_report(folder)
    assert re.match(r"On wishes full reaches a BLEU of [\d.]+, [\d.]+ points over the base model", report.headlines[0])
    assert "no interval" in "".join(parse(report.html).text)


def test_one_seed_is_said_to_cover_problems_only_and_three_to_cover_both(written, tmp_path):
    assert "nothing else: every row was trained with one seed" in "".join(parse(written[1].html).text)
    three = write_report(build_study(tmp_path, seeds=3, problems=12, ways=WAYS[:1] + WAYS[2:4]))
    assert "means over 3 training seeds; 95% intervals cover both" in "".join(parse(three.html).text)


def test_two_data_sets_are_two_blocks_with_figures_of_their_own(folder):
    edit(folder, "lora", lambda path, result: result["cell"].update(data="conala"))
    report = write_report(folder)
    assert len(report.headlines) == 2
    assert {path.name.split("-")[0] for path in report.plots} == {"1", "2", "study"}
    parse(report.html)


def test_reporting_needs_no_torch(written):
    code = "import sys, pathlib, codetune.study.report as r; r.report_json(pathlib.Path(sys.argv[1])); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(written[0])], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_long_completions_are_cut_with_a_note():
    text, note = capped("a" * 5000)
    assert (len(text), note) == (MAX_CHARACTERS, "3,000 more characters are not shown")
    text, note = capped("x\n" * 100)
    assert text.count("\n") == 59
    assert note == "81 more characters are not shown"
    assert capped("short") == ("short", "")


def test_the_ten_are_one_of_each_tenth_and_the_same_every_time():
    ids = [f"p/{n}" for n in range(300)]
    chosen = spread_out(ids)
    assert [ids.index(task_id) // 30 for task_id in chosen] == list(range(10))
    assert spread_out(ids) == chosen
    assert spread_out(ids[:3]) == ids[:3]
    assert spread_out([]) == []


def test_code_that_does_not_parse_is_still_shown_and_escaped():
    html = highlighted("def f(:\n\t<b>&'\"")
    assert "<b>" not in html
    assert re.sub(r"<[^>]+>", "", html).startswith("def f(:")


def test_markdown_fences_outlast_the_code():
    assert fenced("a = '```'\n````").startswith("`````python\n")
    assert plain("a|b\n# <i>x") == "a&#124;b &#35; &lt;i&gt;x"


def test_the_usual_rows_keep_their_colour_in_any_company():
    assert style_of(["lora"])["lora"] == style_of(["base", "mine", "full", "lora", "other"])["lora"]
    many = style_of([f"lora r={n}" for n in range(6)])
    assert len({style.light for style in many.values()}) == 6
