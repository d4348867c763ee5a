"""The report for everybody: axe finds no serious fault in either theme."""

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from study_fixture import build_study

from codetune.study.report import write_report


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(tmp_path, theme):
    where = shutil.which("chromium") or shutil.which("google-chrome")
    if where is None:
        pytest.skip("needs a browser: neither chromium nor google-chrome is on the PATH")
    study = build_study(tmp_path)
    write_report(study)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=where, args=["--no-sandbox"]) as browser:
        page = browser.new_page(color_scheme=theme)
        page.goto((study / "report.html").as_uri())
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert not [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in ("serious", "critical")]
