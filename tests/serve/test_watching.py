"""Runs and studies over HTTP: what a live training and finished cells look like, and that ids and paths lead nowhere else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from page_client import Page, page

from codetune.runs import RowLog, locked, write_json
from codetune.serve.settings import ServeSettings
from codetune.serve.watching import curve, folder_of, id_of

RECIPE = {"name": "mine", "model": "codetune-base", "method": {"name": "lora"}, "data": {"source": "basics"}, "train": {}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training, a study with one finished cell, and a secret beside them."""
    folder = tmp_path_factory.mktemp("assistant")
    runs = folder / "runs"
    write_json(runs / "mine" / "config.json", RECIPE)
    log = RowLog(runs / "mine" / "metrics.jsonl")
    for step in range(1, 41):
        row = {"step": step, "tokens": 100 * step, "loss": 4 / step, "seconds": 2.0 * step, "tokens_per_s": 50.0, "steps": 100}
        log.add(row | ({"val_loss": 5 / step} if step % 10 == 0 else {}))
    log.add({"step": 41, "bad_step": {"why": "spike"}})
    samples = RowLog(runs / "mine" / "samples.jsonl")
    for step in (10, 20):
        samples.add({"step": step, "task_id": "t/1", "completion": "<b>x</b>", "verdict": "passed", "detail": "", "finish": "eos"})
    study, cell = runs / "study", runs / "study" / "cells" / "lora-1"
    write_json(study / "study.json", {"name": "compared", "cells": ["lora-1"]})
    write_json(cell / "cell.json", {"model": "codetune-base", "row": "lora"})
    write_json(cell / "result.json", {"cell": {"model": "codetune-base", "row": "lora", "data": "basics"}, "benchmarks": {}})
    (study / "report.html").write_text("<script>alert(1)</script>")
    (study / "plots").mkdir()
    (study / "plots" / "loss.svg").write_text("<svg/>")
    (study / "judgements" / "one").mkdir(parents=True)
    (study / "judgements" / "one" / "key.json").write_text("who wrote what")
    (folder / "secret.html").write_text("secret")
    (study / "link.html").symlink_to(folder / "secret.html")
    (study / ".hidden.html").write_text("secret")
    os.symlink(folder, runs / "up")
    return runs


@pytest.fixture(scope="module")
def watched(root: Path) -> Iterator[Page]:
    with page(root.parent) as opened:
        yield opened


def test_a_running_training_shows_its_curves_and_the_time_left(watched: Page, root: Path) -> None:
    with locked(root / "mine"):
        listed = {one["id"]: one for one in watched.get("/api/runs")["runs"]}
        found = watched.get("/api/runs/mine")
    assert set(listed) == {"mine", "study:cells:lora-1"}
    assert (listed["mine"]["state"], listed["mine"]["detail"], listed["mine"]["kind"]) == ("running", "running, step 41", "run")
    assert (listed["mine"]["model"], listed["mine"]["method"]) == ("codetune-base", "lora")
    assert (found["step"], found["steps"], found["seconds_left"], found["tokens_per_s"]) == (40, 100, 120.0, 50.0)
    assert found["loss"] == [[step, 4 / step] for step in range(1, 41)]
    assert found["val_loss"] == [[step, 5 / step] for step in (10, 20, 30, 40)]
    assert [(one["step"], one["prompt"], one["text"]) for one in found["samples"]] == [(20, "t/1", "<b>x</b>"), (10, "t/1", "<b>x</b>")]
    assert found["facts"]["method.name"] == "lora"
    after = watched.get("/api/runs/mine")
    assert (after["state"], after["seconds_left"]) == ("begun", None)


def test_a_cell_of_a_study_is_a_run_and_says_whose(watched: Page) -> None:
    found = watched.get("/api/runs/study:cells:lora-1")
    assert (found["kind"], found["state"], found["study"], found["loss"], found["steps"]) == ("cell", "done", "compared", [], None)


def test_without_a_runs_folder_there_are_none(tmp_path: Path) -> None:
    with page(tmp_path) as opened:
        assert opened.get("/api/runs") == {"runs": []}
        assert opened.get("/api/studies") == {"studies": []}


def test_a_report_is_served_in_a_sandbox_of_the_browsers(watched: Page) -> None:
    (study,) = watched.get("/api/studies")["studies"]
    assert (study["id"], study["name"], study["has_report"], study["url"]) == ("study", "compared", True, "/studies/study/report.html")
    answer = watched.client.get(study["url"])
    assert answer.text == "<script>alert(1)</script>"
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert watched.client.get("/studies/study/").text == "<script>alert(1)</script>"
    assert watched.client.get("/studies/study/plots/loss.svg").headers["content-type"] == "image/svg+xml"


OUTSIDE = [
    "../secret.html", "%2e%2e/secret.html", "plots/../../../secret.html", "plots/%2e%2e/%2e%2e/%2e%2e/secret.html", "link.html",
    "/etc/passwd", "%2fetc%2fpasswd", "..%2f..%2fsecret.html", ".hidden.html", "study.json/", "judgements/one/key.json",
    "cells/lora-1/cell.json", "plots", "report.html%00.svg", "none.html", "plots\\..\\x.html", "x" * 5000 + ".html",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_a_report(watched: Page, path: str) -> None:
    answer = watched.client.get(f"/studies/study/{path}")
    assert answer.status_code == 404, answer.text
    assert "secret" not in answer.text.replace("secret.html", "")


IDS = [
    "..", ".", "", "up", "..:secret.html", "mine:..", "study:cells:..", "up:runs:mine", "/etc", "mine/..", "none", "study", ":::", "mine:",
    "\0", "%2e%2e", "ü" * 200, "mine\\..", "plots",
]  # fmt: skip


@pytest.mark.parametrize("id", IDS)
def test_no_id_leads_out_of_the_runs_folder(watched: Page, id: str) -> None:
    for address in (f"/api/runs/{quote(id, safe='')}", f"/studies/{quote(id, safe='')}/report.html"):
        answer = watched.client.get(address)
        if not (id == "study" and address.startswith("/studies")):
            assert answer.status_code == 404 or answer.url.path in ("/api/runs", "/studies/report.html"), answer.text


def test_ids_of_odd_names_come_back(tmp_path: Path) -> None:
    for name in ("a:b", "100%", "%3A", "ü b", "a"):
        (tmp_path / name / "cells").mkdir(parents=True)
        assert folder_of(tmp_path, id_of(tmp_path, tmp_path / name / "cells")) == tmp_path / name / "cells"
    assert len({id_of(tmp_path, tmp_path / name) for name in ("a:b", "a%3Ab", "a%253Ab")}) == 3


def test_with_a_key_a_report_has_an_address_of_its_own(root: Path, tmp_path: Path) -> None:
    """A frame sends no header. The address of one study opens no other one, nor anything else."""
    (tmp_path / "runs").mkdir()
    shutil.copytree(root / "study", tmp_path / "runs" / "study", symlinks=True)
    with page(tmp_path, settings=ServeSettings(api_key="secret")) as opened:
        listed = opened.client.get("/api/studies", headers={"Authorization": "Bearer secret"}).json()
        url = listed["studies"][0]["url"]
        assert opened.client.get(url).text == "<script>alert(1)</script>"
        assert opened.client.get("/studies/study/report.html").status_code == 401
        forged = url.replace("key-", "key-0")[:-1]
        for wrong in (forged, url.replace("/study/", "/other/"), f"/studies/study/key-{'0' * 64}/report.html"):
            assert opened.client.get(wrong).status_code in (401, 404)
        assert opened.client.get(url.replace("report.html", "../../../api/state")).status_code == 401


def test_a_long_curve_is_thinned_to_its_ends(tmp_path: Path) -> None:
    rows: list[Any] = [{"step": step, "loss": float(step)} for step in range(1, 10_001)]
    points = curve([*rows, {"step": 10_001, "loss": float("nan")}], "loss")
    assert len(points) == 600
    assert points[0] == [1, 1.0]
    assert points[-1] == [10_000, 10_000.0]
    assert json.dumps(points)
