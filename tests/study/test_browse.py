"""Browsing in the page and numbers in tables: all that the records hold is there, and what is not is named with the place it lies in."""

import csv
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from study_fixture import HOSTILE, WAYS, build_study

from codetune.study import browse
from codetune.study.cells import read_outcomes, read_study
from codetune.study.report import write_report


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = build_study(tmp_path_factory.mktemp("browse") / "study", seeds=3, problems=20, ways=(*WAYS[:1], *WAYS[2:4]))
    return folder, write_report(folder)


def embedded(report):
    html = report.html.read_text()
    return html, json.loads(re.search(r'<script type="application/json" id="completions-data">(.*?)</script>', html, re.DOTALL)[1])


def test_every_completion_of_every_cell_is_in_the_page_with_its_verdict(written):
    folder, report = written
    html, data = embedded(report)
    assert HOSTILE.strip("\n") in data["texts"]  # as text, while in the page itself it is no markup
    assert "<script>alert" not in html
    assert len(data["texts"]) == len(set(data["texts"]))
    study = read_study(folder)
    for cell in study.cells:
        for benchmark in cell.benchmarks:
            (shown,) = (c for c in data["cells"] if (c["row"], c["seed"], c["benchmark"]) == (cell.row, cell.seed, benchmark))
            ids = [problem[0] for problem in data["problems"][benchmark]]
            found = {(ids[s[0]], s[1]): (data["texts"][s[2]], data["verdicts"][s[4]], s[7]) for s in shown["samples"]}
            for outcome in read_outcomes(cell, benchmark):
                text, verdict, cut = found[outcome.task_id, outcome.index]
                whole = outcome.completion.strip("\n")
                assert (whole.startswith(text), len(text) + cut, verdict) == (True, len(whole), outcome.verdict)


def test_what_is_left_out_of_the_page_is_counted_and_its_file_named(written, monkeypatch):
    folder, _ = written
    monkeypatch.setattr(browse, "PROBLEMS", 8)
    report = write_report(folder)
    html, data = embedded(report)
    assert {len(problems) for problems in data["problems"].values()} == {8}
    tasks = [{data["problems"][c["benchmark"]][s[0]][0] for s in c["samples"]} for c in data["cells"] if c["benchmark"] == "basics-known"]
    assert len(tasks) == 7  # base once, two methods with three seeds
    assert all(found == tasks[0] for found in tasks)  # the same problems for every row
    line = re.search(r"12 of 20 samples of codetune-base on basics, full, seed 2 on basics-known: (cells/\S+?)</li>", html)
    assert (folder / line[1]).is_file()
    monkeypatch.setattr(browse, "PROBLEMS", 40)
    monkeypatch.setattr(browse, "TEXT_BYTES", 100)
    _, data = embedded(write_report(folder))
    assert {len(problems) for problems in data["problems"].values()} == {10}


def test_no_script_of_ours_makes_markup_of_text():
    scripts = list((Path(browse.__file__).parent / "templates").glob("*.js"))
    assert len(scripts) >= 3
    for path in scripts:
        script = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc|https?:|fetch\(|import\(", script)


def test_csv_and_parquet_hold_the_same_numbers_of_each_seed_and_of_the_mean(written):
    folder, report = written
    assert [path.name for path in report.numbers] == ["numbers.csv", "numbers.parquet"]
    with (folder / "numbers.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = pq.read_table(folder / "numbers.parquet").to_pylist()
    assert len(lines) == len(rows) > 100
    for line, row in zip(lines, rows, strict=True):
        texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in row.items()}
        assert {name: "" if text == "None" else text for name, text in texts.items()} == line
    found = [row for row in rows if (row["row"], row["benchmark"], row["metric"]) == ("lora", "basics-known", "pass@1")]
    assert [row["seed"] for row in found] == ["0", "1", "2", "mean"]
    assert found[3]["value"] == pytest.approx(sum(row["value"] for row in found[:3]) / 3)
    assert all(row["low"] < row["value"] < row["high"] and row["unit"] == "share" and row["valid"] for row in found)
    units = {row["metric"]: row["unit"] for row in rows}
    assert (units["train.seconds"], units["train.adapter_bytes"], units["train.tokens_per_s"], units["bleu"]) == ("s", "bytes", "1/s", "")
    assert "gate.reload" in units


def test_a_struck_out_number_says_so_in_the_tables(tmp_path):
    folder = build_study(tmp_path / "study", problems=10, ways=WAYS[2:4])
    path = next(p for p in (folder / "cells").glob("*/result.json") if '"full"' in p.read_text())
    result = json.loads(path.read_text())
    result["gates"].append({"name": "finite_loss", "level": "invalid", "value": 2, "threshold": "= 0", "message": "2 losses were NaN"})
    path.write_text(json.dumps(result))
    write_report(folder)
    rows = pq.read_table(folder / "numbers.parquet").to_pylist()
    assert {(row["row"], row["valid"], row["cause"]) for row in rows} == {("full", False, "2 losses were NaN"), ("lora", True, "")}
