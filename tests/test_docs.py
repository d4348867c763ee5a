"""The written pages say what the code says: generated ones are up to date, and what the others name is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codetune.score.text import METRICS
from codetune.study import gates

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`((?:codetune|tests|docs|recipes|examples|bench)/[\w./-]+\.\w+)`")
TEST = re.compile(r"`(test_\w+)`")


def generate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "docs" / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)


def test_generated_pages_are_up_to_date_whatever_the_terminal() -> None:
    done = generate("--check", COLUMNS="60", FORCE_COLOR="1", GITHUB_ACTIONS="true")
    assert done.returncode == 0, done.stderr


def headings(page: Path) -> set[str]:
    """Anchors of a page, by GitHub's rule."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    wrong = [file for file in FILE.findall(text) if not (REPOSITORY / file).exists()]
    for link in LINK.findall(text):
        target, _, anchor = link.partition("#")
        if not target.startswith(("http:", "https:")):
            file = page if not target else (page.parent / target).resolve()
            if not file.exists() or (anchor and anchor not in headings(file)):
                wrong.append(link)
    assert not wrong, f"{page.name} names what is not there: {wrong}"


def test_the_tests_that_exactness_stands_on_are_there() -> None:
    named = set(TEST.findall((REPOSITORY / "docs" / "exactness.md").read_text(encoding="utf-8")))
    sources = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py")]
    defined = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}
    assert len(named) > 10
    assert not named - defined


def test_every_metric_and_every_gate_with_its_threshold_is_explained() -> None:
    rows: dict[str, list[str]] = {}
    for line in (REPOSITORY / "docs" / "quality.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| `(\w+)` \|", line):
            rows.setdefault(match[1], []).append(line)
    names = {*METRICS, *gates.TRAINING_GATES, *gates.GENERATION_GATES, *gates.QUALITY_GATES}
    assert not names - rows.keys()
    low, high = gates.LENGTH_RATIO_RANGE
    thresholds = {
        "reload": f"at most {gates.RELOAD_TOLERANCE:g}",
        "merge": f"at most {gates.MERGE_TOLERANCE:g}",
        "adapter_effect": f"at least {gates.MIN_ADAPTER_EFFECT:g}",
        "eos_labels": f"at least {gates.MIN_EOS_LABEL_SHARE:g}",
        "eos_finish": f"at least {gates.MIN_EOS_FINISH_SHARE:g}",
        "empty_completions": f"at most {gates.MAX_EMPTY_SHARE:g}",
        "length_ratio": f"{low:g} to {high:g} times",
        "syntax_valid": f"at least {gates.MIN_SYNTAX_VALID:g}",
        "codebleu_without_bleu": f"{gates.SUSPICIOUS_CODEBLEU:g} or more where BLEU is below {gates.NEAR_ZERO_BLEU:g}",
    }
    for gate, threshold in thresholds.items():
        assert any(threshold in row for row in rows[gate]), f"{gate}: {threshold}"
