"""A server with scripted models, runs and a study for the tests of the page: the sandbox, the history and the browser are real."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running_server import serving

from codetune.config import TrainRecipe
from codetune.generate.fake_live import FakeLiveEngine
from codetune.generate.live import Ask
from codetune.serve.assistant import Assistant
from codetune.serve.history import History
from codetune.serve.settings import ServeSettings
from codetune.serve.workbench import Workbench

WRONG = "def second_largest(numbers):\n    return sorted(numbers)[1]"
BETTER = "def second_largest(numbers):\n    return sorted(numbers)[-2]"
RIGHT = "def second_largest(numbers):\n    found = sorted(set(numbers))\n    return found[-2] if len(found) > 1 else None"
TESTS = "assert second_largest([4, 3, 1, 2]) == 3\nassert second_largest([5, 5, 1]) == 1\nassert second_largest([1]) is None"
expect.set_options(timeout=20_000)  # a busy machine is no fault of the page

QUESTION = "Write a function that returns the second largest number of a list."
SCRIPT = (
    "Here it is:\n\n```python\nimport sys  # for its arguments\n\nprint('hello', input(), *sys.argv[1:])\n"
    "raise SystemExit(0 if sys.argv[1:] else 3)\n```\n\nIt *prints* what it is **given**."
)
HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> **<b>bold</b>** [click](javascript:alert(3)) [fine](https://example.org/a) "
    "`<i>code</i>`\n\n```html\n</code></pre><script>alert(4)</script>\n```\n"
)
MARKDOWN = "## Plan\n\n1. Sort\n   - a *stable* sort\n2. Return `found[-2]`\n\n> Mind __equal__ numbers in my_list_name.\n\n" + SCRIPT
EXPLANATION = "The list is sorted **upwards**, so `[1]` is the second *smallest*."


def answer(ask: Ask, index: int) -> str:
    """A wrong program; asked to mend it, a better one that still fails, then the right one."""
    said, last = "\n".join(message.content for message in ask.messages), ask.messages[-1].content
    if last.startswith("Explain"):
        return EXPLANATION
    if "def second_largest" in said:
        return WRONG if "== 99" in said else RIGHT if "sorted(numbers)[-2]" in said else BETTER
    for word, text in (("markup", HOSTILE), ("markdown", MARKDOWN), ("script", SCRIPT), ("forever", "on and " * 3000), ("nothing", "")):
        if word in last:
            return text
    return WRONG if ask.model == "tuned" else f"Equal numbers count once:\n\n```python\n{RIGHT}\n```\n"


def write_runs(root: Path) -> None:
    """A finished training with a curve and samples, and a study whose report tries what it must not be able to do."""
    run = root / "tuned"
    run.mkdir(parents=True)
    tree = {"name": "tuned", "model": "codetune-base", "data": {"source": "basics"}, "method": {"name": "lora"}}
    (run / "config.json").write_text(json.dumps(TrainRecipe.model_validate(tree).model_dump(mode="json")))
    rows = [{"step": step, "steps": 40, "loss": 2.0 / step + 0.5, "tokens_per_s": 900.0, "seconds": step * 1.5} for step in range(1, 41)]
    rows[19]["val_loss"], rows[39]["val_loss"] = 0.7, 0.6
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    sample = {"step": 40, "task_id": "basics/1", "index": 0, "completion": "def add(a, b):\n    return a + b", "verdict": "passed"}
    (run / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    (run / "train.json").write_text(json.dumps({"best_val_loss": 0.6, "first_loss": 2.5, "last_loss": 0.55, "steps": 40, "seconds": 60.0}))
    study = root / "first-study"
    (study / "cells").mkdir(parents=True)
    (study / "study.json").write_text(json.dumps({"name": "first-study"}))
    (study / "report.html").write_text(
        "<!doctype html><html lang=en><title>Report</title><h1>Report of the first study</h1><p id=p>no script</p><script>"
        "let seen = 'alone'; try { parent.document.title; seen = 'reached'; } catch { }\n"
        "fetch('/api/state').then(() => { seen = 'asked'; }).catch(() => {})\n"
        ".finally(() => { document.getElementById('p').textContent = seen; });"
        "</script></html>"
    )


def scripted_models() -> FakeLiveEngine:
    return FakeLiveEngine(answer, models=("base", "tuned"), pause_s=0.004)


@contextmanager
def page_server(folder: Path, api_key: str | None = None) -> Iterator[tuple[str, FakeLiveEngine]]:
    """Its address and its engine."""
    engine, keeps = scripted_models(), folder / "assistant"
    write_runs(folder / "runs")
    keeps.mkdir(parents=True)
    with closing(History(keeps / "assistant.sqlite")) as history, closing(Workbench(workers=1)) as bench:
        assistant = Assistant(engine, ServeSettings(api_key=api_key, max_new_tokens=4000), keeps, folder / "runs", bench, history=history)
        with serving(assistant) as address:
            yield address, engine


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own Chromium or Chrome; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("needs chromium or google-chrome on PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def ask(page: Page, question: str, answers: int = 1) -> None:
    """Ask, and wait until all is written."""
    before = page.locator(".exchange").count()
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".exchange")).to_have_count(before + 1)
    expect(page.locator(".being-written")).to_have_count(0)
    expect(page.locator(".exchange").last.locator(".thumbs")).to_have_count(answers)


def tool(page: Page, name: str, number: int = 0) -> None:
    page.locator(".tools").nth(number).get_by_role("button", name=name, exact=True).click()
