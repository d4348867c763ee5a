"""The page for everybody: axe finds no serious fault in any state, in both themes, at both widths."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_fixture import QUESTION, TESTS, ask, chromium, page_server, tool
from playwright.sync_api import expect

SIZES = {1440: {"width": 1440, "height": 900}, 390: {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with page_server(tmp_path_factory.mktemp("access")) as (address, _):
        yield address


def faults(page):
    """Serious and critical ones, with what they are found on."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "iframes": False}).response["violations"]
    return [
        f"{one['id']}: {node['html'][:120]}: {node.get('failureSummary', '')}"
        for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]
    ]  # fmt: skip


def at_welcome(page):
    page.goto("/#/")
    page.get_by_label("Your question").wait_for()


def with_settings(page):
    at_welcome(page)
    page.locator(".decoding summary").click()


def with_an_answer(page):
    at_welcome(page)
    ask(page, "In markdown")


def after_a_run(page):
    with_an_answer(page)
    tool(page, "Run")
    page.get_by_label("Standard input").fill("Ada")
    page.locator(".panel").get_by_role("button", name="Run", exact=True).click()
    page.locator(".output").first.wait_for()


def after_mending(page):
    at_welcome(page)
    ask(page, QUESTION)
    tool(page, "Test")
    page.locator(".panel textarea").fill(TESTS)
    page.get_by_role("button", name="Run the tests").click()
    page.get_by_role("button", name="Explain error").click()
    expect(page.locator(".explained .body")).to_contain_text("smallest")
    tool(page, "Mend")
    page.get_by_role("button", name="Use this program").wait_for()


def side_by_side(page):
    at_welcome(page)
    page.get_by_text("Side by side").click()
    ask(page, QUESTION, answers=2)


def after_a_vote(page):
    side_by_side(page)
    page.get_by_role("button", name="Left", exact=True).click()
    page.locator(".chosen").wait_for()


def while_it_edits(page):
    with_an_answer(page)
    tool(page, "Edit")


def in_a_dialog(page):
    with_an_answer(page)
    if page.viewport_size["width"] < 900:
        page.get_by_role("button", name="Conversations", exact=True).click()
    page.locator(".history li").first.hover()
    page.get_by_role("button", name=re.compile("^Rename")).first.click()


def a_refusal(page):
    at_welcome(page)
    page.get_by_label("Your question").fill("word " * 5000)
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()


def runs(page):
    page.goto("/#/runs")
    page.locator(".cards").wait_for()


def a_run(page):
    page.goto("/#/runs/tuned")
    page.locator(".chart").wait_for()


def studies(page):
    page.goto("/#/studies")
    page.locator(".cards").wait_for()


def a_report(page):
    studies(page)
    page.get_by_role("link", name=re.compile("first-study")).click()
    page.locator("iframe").wait_for()


STATES = (
    at_welcome, with_settings, with_an_answer, after_a_run, after_mending, side_by_side, after_a_vote, while_it_edits, in_a_dialog,
    a_refusal, runs, a_run, studies, a_report,
)  # fmt: skip


def look(browser, address, width, theme, state):
    context = browser.new_context(base_url=address, viewport=SIZES[width], color_scheme=theme, reduced_motion="reduce")
    try:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto("/")
        state(page)
        return faults(page), page.evaluate("() => document.documentElement.scrollWidth")
    finally:
        context.close()


def test_axe_sees_a_fault_where_there_is_one(browser, address):
    page = browser.new_page(base_url=address)
    at_welcome(page)
    page.evaluate("() => { for (const name of ['aria-label', 'title']) document.querySelector('.send').removeAttribute(name); }")
    assert any(fault.startswith("button-name") for fault in faults(page))
    page.close()


@pytest.mark.parametrize(("width", "theme", "state"), [(1440, "light", after_mending), (390, "dark", after_a_vote), (390, "light", a_run)])
def test_axe_finds_no_serious_fault_in_the_main_states(browser, address, width, theme, state):
    assert look(browser, address, width, theme, state) == ([], width)


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_axe_finds_no_serious_fault_in_any_state(browser, address, width, theme):
    found = {state.__name__: look(browser, address, width, theme, state) for state in STATES}
    assert found == {name: ([], width) for name in found}
