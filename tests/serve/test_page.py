"""The page in a real browser, on a real server with the real sandbox; only the models are scripted."""

import json
import re
from pathlib import Path

import pytest
from page_fixture import BETTER, EXPLANATION, HOSTILE, QUESTION, RIGHT, TESTS, WRONG, ask, chromium, page_server, tool
from playwright.sync_api import expect

from codetune.runs import locked

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with page_server(folder) as (address, engine):
        yield address, engine, folder


@pytest.fixture
def said():
    """What the browser complained about; empty at the end of each test."""
    complaints = []
    yield complaints
    assert not complaints


@pytest.fixture(scope="module")
def window(browser, server):
    permissions = ["clipboard-read", "clipboard-write"]
    with browser.new_context(base_url=server[0], viewport=WIDE, reduced_motion="reduce", permissions=permissions) as context:
        yield context


@pytest.fixture
def page(window, said):
    page = window.new_page()
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.goto("/")
    page.get_by_label("Your question").wait_for()
    yield page
    page.evaluate("() => localStorage.clear()")  # the next test is somebody else
    page.close()


def test_an_answer_grows_while_it_is_written_and_says_how(page, server):
    page.locator(".decoding summary").click()
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Seed").fill("11")
    page.get_by_label("Max new tokens").fill("300")
    page.get_by_label("Prompt style").select_option("alpaca")
    page.get_by_label("Your question").fill("forever")
    page.keyboard.press("Enter")
    body = page.locator(".being-written .body")
    expect(body).to_contain_text("on and on and on")
    before = len(body.inner_text())
    expect(body).to_contain_text("on and " * (before // 7 + 3))
    expect(page.locator(".being-written")).to_have_count(0)
    expect(page.locator(".answer .state")).to_have_text("cut: no tokens left")
    expect(page.locator(".facts")).to_contain_text("300 tokens")
    expect(page.locator(".facts")).to_contain_text("alpaca · temperature 0.7, top p 1, seed 11 · up to 300 tokens")
    expect(page.get_by_label("Your question")).to_have_value("")
    asked = server[1].asked[-1]
    decoding = asked.decoding
    assert (asked.prompt_style, decoding.temperature, decoding.seed, decoding.max_new_tokens) == ("alpaca", 0.7, 11, 300)


def test_escape_stops_an_answer_and_what_was_written_is_kept(page, server):
    page.locator(".decoding summary").click()
    page.get_by_label("Max new tokens").fill("4000")  # longer than this test may take
    page.get_by_label("Your question").fill("forever, please")
    page.keyboard.press("Enter")
    expect(page.locator(".being-written .body")).to_contain_text("on and on")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".answer .state")).to_have_text("stopped")
    assert server[1].running == 0
    page.reload()
    expect(page.locator(".answer .state")).to_have_text("stopped")
    expect(page.locator(".answer .body")).to_contain_text("on and on")


def test_a_program_is_copied_and_run_with_input_and_arguments(page):
    ask(page, "A script, please.")
    expect(page.locator("em")).to_have_text("prints")
    tool(page, "Copy")
    assert page.evaluate("() => navigator.clipboard.readText()").startswith("import sys  # for its arguments\n\nprint(")
    tool(page, "Run")
    panel = page.locator(".panel")
    expect(panel.locator(".chip")).to_contain_text("exception")
    expect(panel.locator(".detail")).to_contain_text("EOFError")
    panel.get_by_label("Standard input").fill("Ada")
    panel.get_by_label("Arguments").fill("""--name 'two words' "a \\"b\\"" """)
    panel.get_by_role("button", name="Run", exact=True).click()
    expect(panel.locator(".chip")).to_contain_text("ran without an error")
    expect(panel.locator(".output pre")).to_have_text('hello Ada --name two words a "b"\n')
    expect(panel.locator(".verdict")).to_contain_text("sandbox:")
    panel.get_by_role("button", name="Close Run").click()
    expect(panel).to_have_count(0)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_focused()


def test_a_failing_test_is_explained_and_mended_until_it_passes(page, server):
    ask(page, QUESTION)
    assert page.locator(".code-body pre").inner_text() == WRONG  # bare code is a block of code
    tool(page, "Mend")
    expect(page.locator(".panel .note")).to_contain_text("Mending needs a test")
    tool(page, "Test")
    page.get_by_label("Tests", exact=False).last.fill(TESTS)
    page.get_by_role("button", name="Run the tests").click()
    expect(page.locator(".result .chip")).to_contain_text("wrong answer")
    expect(page.locator(".result .verdict")).to_contain_text("0 of 3 tests passed")
    page.get_by_role("button", name="Explain error").click()
    expect(page.locator(".explained .body")).to_have_text(EXPLANATION.replace("*", "").replace("`", ""))
    page.locator(".result-place").get_by_role("button", name="Mend").click()
    rounds = page.locator(".round")
    expect(rounds).to_have_count(3)
    assert server[1].asked[-1].messages[0].content.startswith(QUESTION)  # what the program is for
    expect(rounds.nth(0)).to_contain_text("As given")
    expect(rounds.nth(1).locator(".chip")).to_contain_text("wrong answer")
    expect(rounds.nth(1).locator(".added")).to_have_text("+added: " + BETTER.splitlines()[1])
    expect(rounds.nth(2).locator(".chip")).to_contain_text("passed")
    expect(rounds.nth(2).locator(".removed")).to_have_count(1)
    expect(page.locator(".ending-words")).to_contain_text("passes the tests")
    page.get_by_role("button", name="Use this program").click()
    expect(page.locator(".answer .state")).to_contain_text("edited")
    assert page.locator(".code-body pre").inner_text() == RIGHT
    page.reload()
    expect(page.locator(".answer .state")).to_contain_text("edited")
    assert page.locator(".code-body pre").inner_text() == RIGHT
    tool(page, "Test")  # the tests of this conversation are remembered
    expect(page.locator(".result .chip")).to_contain_text("passed")
    expect(page.locator(".result .verdict")).to_contain_text("3 of 3 tests passed")


def test_mending_says_honestly_that_it_found_nothing(page):
    ask(page, QUESTION)
    tool(page, "Test")
    page.locator(".panel textarea").fill("assert second_largest([1, 2]) == 99")
    tool(page, "Mend")
    expect(page.locator(".ending-words")).to_contain_text("Not mended")
    expect(page.get_by_role("button", name="Use this program")).to_have_count(0)


def test_two_models_side_by_side_are_nameless_until_the_vote(page, server):
    page.get_by_text("Side by side").click()
    ask(page, QUESTION, answers=2)
    expect(page.locator(".who")).to_have_text(["Left", "Right"])
    assert page.locator("#exchanges").get_by_text(re.compile("tuned|base")).count() == 0
    left, right = (box.bounding_box() for box in page.locator(".answer").all())
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    page.get_by_role("group", name="Which answer").get_by_role("button", name="Right").click()
    expect(page.locator(".vote-words")).to_have_text(re.compile(r"You chose the right: (base|tuned)\."))
    assert sorted(page.locator(".who").all_inner_texts()) == ["base", "tuned"]
    chosen = page.locator(".who").nth(1).inner_text()
    page.reload()
    expect(page.locator(".chosen .who")).to_have_text(chosen)
    page.set_viewport_size(NARROW)
    left, right = (box.bounding_box() for box in page.locator(".answer").all())
    assert left["y"] + left["height"] <= right["y"]
    assert page.evaluate("() => document.documentElement.scrollWidth") == NARROW["width"]
    page.get_by_text("Side by side").click()


def test_history_outlives_a_reload_and_is_searched_renamed_and_deleted(page):
    ask(page, "A script about zebras.")
    ask(page, QUESTION)
    address = page.url
    page.reload()
    expect(page.locator(".question")).to_have_text(["A script about zebras.", QUESTION])
    assert page.url == address
    page.get_by_label("Search in conversations").fill("zebras")
    found = page.locator(".history li a")
    expect(found).to_have_text(["A script about zebras."])
    page.locator(".history li").hover()
    page.get_by_role("button", name="Rename A script").click()
    page.get_by_role("dialog").get_by_label("Title").fill("Stripes")
    page.keyboard.press("Enter")
    expect(found).to_have_text(["Stripes"])
    expect(page).to_have_title("Stripes · codetune")
    page.locator(".history li").hover()
    page.get_by_role("button", name="Delete Stripes").click()
    page.keyboard.press("Escape")
    expect(found).to_have_text(["Stripes"])
    page.get_by_role("button", name="Delete Stripes").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".history")).to_contain_text("Nothing is like that")
    expect(page.locator(".welcome")).to_be_visible()


def test_markup_in_questions_and_answers_is_text(page):
    ask(page, "markup " + HOSTILE)
    exchanges = page.locator("#exchanges")
    expect(page.locator(".question")).to_have_text("markup " + HOSTILE.rstrip("\n"))
    expect(page.locator(".answer .body")).to_contain_text("<script>alert(1)</script> <img src=x onerror=alert(2)>")
    expect(page.locator(".answer pre")).to_have_text("</code></pre><script>alert(4)</script>")
    assert exchanges.locator("script, img, iframe, b, i:not([aria-hidden])").count() == 0
    assert [link.get_attribute("href") for link in exchanges.locator("a").all()] == ["https://example.org/a"]
    assert exchanges.locator("a").get_attribute("rel") == "noopener noreferrer"
    assert page.evaluate("() => document.scripts.length") == 2  # the page's own
    page.reload()
    expect(page.locator(".answer .body")).to_contain_text("[click](javascript:alert(3))")


def test_markdown_is_shown_with_its_own_elements(page):
    ask(page, "In markdown")
    body = page.locator(".answer .body")
    expect(body.locator("h5")).to_have_text("Plan")
    expect(body.locator("ol > li")).to_have_count(2)
    expect(body.locator("ol ul em")).to_have_text("stable")
    expect(body.locator("li > code")).to_have_text("found[-2]")
    expect(body.locator("blockquote")).to_have_text("Mind equal numbers in my_list_name.")
    expect(body.locator("figure pre .k").first).to_have_text("import")


def test_an_edit_is_kept_with_the_answer_and_the_words_around_it(page):
    ask(page, "A script, please.")
    tool(page, "Edit")
    page.get_by_label("Edit the code").fill("print('mine')")
    page.get_by_role("button", name="Keep the edit").click()
    expect(page.locator(".code-body pre")).to_have_text("print('mine')")
    page.reload()
    expect(page.locator(".answer .state")).to_contain_text("edited")
    expect(page.locator(".code-body pre")).to_have_text("print('mine')")
    expect(page.locator(".answer .body > p")).to_have_text(["Here it is:", "It prints what it is given."])
    tool(page, "Run")
    expect(page.locator(".output pre")).to_have_text("mine\n")
    page.get_by_role("button", name="As it was written").click()
    expect(page.locator(".code-body pre")).to_contain_text("import sys")
    page.reload()
    expect(page.locator(".code-body pre")).to_contain_text("import sys")


def test_nothing_typed_is_lost_where_the_server_refuses(page, said):
    long = "word " * 5000
    page.get_by_label("Your question").fill(long)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("5000 tokens")
    expect(page.get_by_label("Your question")).to_have_value(long)
    page.reload()
    expect(page.get_by_label("Your question")).to_have_value(long)
    assert [re.sub(r"\(.*\)", "", line) for line in said] == ["Failed to load resource: the server responded with a status of 400 "]
    said.clear()
    page.get_by_label("Your question").fill("")


def test_thumbs_are_kept_as_feedback_only_where_asked_for(page, server):
    ask(page, QUESTION)
    path = Path(page.locator(".feedback .path").inner_text())
    good = page.get_by_role("button", name="Good answer")
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    assert not path.exists()
    page.get_by_text("Keep feedback for tuning").click()
    expect(page.locator("#said")).to_contain_text("Feedback is kept")
    page.get_by_role("button", name="Bad answer").click()
    expect(page.locator("#said")).to_contain_text("kept as feedback")
    (row,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert row["rejected"][0]["content"] == WRONG
    page.reload()
    expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("checkbox", name="Keep feedback")).to_be_checked()
    page.get_by_text("Keep feedback for tuning").click()


def test_runs_show_loss_and_samples_and_a_report_reaches_nothing_of_ours(page, said):
    page.get_by_role("link", name="Runs").click()
    page.get_by_role("link", name=re.compile("tuned")).click()
    title = "Training: loss from 2.500 at step 1 to 0.550 at step 40; Held out: loss from 0.700 at step 20 to 0.600 at step 40"
    chart = page.get_by_role("img", name=title)
    expect(chart.locator("text.axis")).to_have_text(["step", "loss (nats per token)"])
    expect(chart.locator("polyline")).to_have_count(2)
    expect(page.locator(".progress")).to_contain_text("Step 40 of 40")
    expect(page.locator(".sample")).to_contain_text("basics/1")
    page.get_by_role("link", name="Studies").click()
    page.get_by_role("link", name=re.compile("first-study")).click()
    report = page.frame_locator("iframe")
    expect(report.locator("h1")).to_have_text("Report of the first study")
    expect(report.locator("#p")).to_have_text("alone")
    assert all("report.html" in line or "Content Security Policy" in line for line in said)
    said.clear()


def test_a_running_training_is_watched(page, server):
    folder = server[2] / "runs" / "tuned"
    with locked(folder):
        page.goto("/#/runs/tuned")
        expect(page.locator(".page-head")).to_contain_text("running")
        expect(page.locator(".progress")).to_have_text("Step 40 of 40 · 900 tokens/s")
        row = {"step": 41, "steps": 61, "loss": 0.5, "seconds": 82.0, "tokens_per_s": 1000.0}
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        expect(page.locator(".progress")).to_have_text("Step 41 of 61 · about 40 s left · 1,000 tokens/s")
        expect(page.locator(".legend")).to_contain_text("points): 0.52")


def test_the_keyboard_reaches_everything_and_is_seen(page):
    ask(page, QUESTION)
    page.keyboard.press("Shift+Tab")
    tool(page, "Run")
    expect(page.locator(".result .chip")).to_be_visible()
    page.reload()
    expect(page.locator(".tools")).to_be_visible()
    page.evaluate(
        """() => { document.activeElement.blur(); window.reached = new Set(); document.addEventListener('focusin', (event) => {
            const target = event.target, shown = target.closest('.switch') ? target.nextElementSibling : target;
            window.reached.add(target);
            const style = getComputedStyle(shown);
            if (style.outlineStyle === 'none' && target.id !== 'question') throw new Error(`no focus is seen on ${target.outerHTML}`);
        }); }"""
    )
    for _ in range(60):
        page.keyboard.press("Tab")
    missed = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
            .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.disabled && !window.reached.has(one))
            .map((one) => one.outerHTML)"""
    )
    assert missed == []
    assert page.evaluate("() => window.reached.size") > 20


def test_a_question_is_asked_and_its_program_run_with_the_keyboard_alone(page):
    page.keyboard.type("A script")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("please.")
    page.keyboard.press("Enter")
    expect(page.locator(".question")).to_have_text("A script\nplease.")
    expect(page.locator(".tools")).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("() => document.activeElement.textContent") == "Run":
            break
    page.keyboard.press("Enter")
    expect(page.locator(".result .chip")).to_be_visible()
    page.keyboard.press("Tab")
    page.get_by_role("link", name="To the question").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your question")).to_be_focused()


def test_the_drawer_of_a_small_screen_holds_the_focus_and_gives_it_back(page):
    page.set_viewport_size(NARROW)
    page.wait_for_function("() => document.getElementById('side').inert")  # the page hears of its new width in its own time
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.get_by_label("Search in conversations")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Conversations", exact=True)).to_be_focused()


def test_the_theme_follows_the_system_until_it_is_switched(page):
    def ground():
        return page.evaluate("() => getComputedStyle(document.body).backgroundColor")

    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert light != dark
    page.get_by_role("button", name="Dark or light").click()
    assert ground() == light
    page.reload()
    assert ground() == light


def test_a_locked_server_asks_for_its_key_and_keeps_it_for_the_tab(browser, tmp_path):
    with page_server(tmp_path, api_key="open-sesame") as (address, _):
        page = browser.new_page(base_url=address)
        page.goto("/")
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("This key was refused")
        page.get_by_label("API key").fill("open-sesame")
        page.keyboard.press("Enter")
        ask(page, QUESTION)
        assert "sesame" not in page.url
        page.reload()
        expect(page.locator(".question")).to_have_text(QUESTION)
        page.goto("/#/studies")
        page.get_by_role("link", name=re.compile("first-study")).click()
        expect(page.frame_locator("iframe").locator("h1")).to_have_text("Report of the first study")
        assert page.evaluate("() => JSON.stringify(localStorage)").find("sesame") == -1
        page.close()
