"""The CodeBLEU benchmark's own arithmetic: which pairs are compared, when values are the same, and why they may not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.codebleu import make_record, report
from bench.parity import EQUAL, GRAMMAR, HASHED, HASHED_OTHER, REASONS, UNEXPLAINED, ZERO_FLOW, counted, make_pairs, reason
from tests.forked import Forked, bench

ROW = [0.5, 0.25, 0.5, 0.75, 0.5]


def test_each_reference_has_its_neighbour_and_a_damaged_copy_of_itself() -> None:
    snippets = [f"f({number}) + g" for number in range(9)]
    pairs = make_pairs(snippets, 6)
    assert pairs == make_pairs(snippets, 6)
    assert pairs[:3] == [(snippets[1], snippets[0]), (snippets[2], snippets[1]), (snippets[3], snippets[2])]
    assert [reference for _, reference in pairs[3:]] == snippets[:3]


@pytest.mark.parametrize(
    ("ours", "peers", "old_grammar", "expected"),
    [
        (ROW, [ROW, ROW], ROW, EQUAL),
        ([0.5 + 9e-13, *ROW[1:]], [ROW], ROW, EQUAL),
        ([0.25, 0.5, 0.5, 0, 0], [[0.5, 0.5, 0.5, 0, 0]], ROW, ZERO_FLOW),
        (ROW, [[0.4, *ROW[1:]], ROW], ROW, HASHED),
        (ROW, [[0.4, *ROW[1:]], [0.6, *ROW[1:]]], ROW, HASHED_OTHER),
        ([0.4, *ROW[1:]], [ROW], ROW, GRAMMAR),
        ([0.5 + 2e-12, *ROW[1:]], [ROW], [0.6, *ROW[1:]], UNEXPLAINED),
    ],
)
def test_every_difference_has_its_reason(ours: list[float], peers: list[list[float]], old_grammar: list[float], expected: str) -> None:
    assert reason(ours, peers, old_grammar) == expected


def test_the_report_counts_reasons_and_compares_the_fastest_runs() -> None:
    runs = [{"cpu_seconds": seconds, "versions": {"tree-sitter": "1"}} for seconds in (0.5, 0.25)]
    slow = [{**run, "cpu_seconds": 8 * run["cpu_seconds"]} for run in runs]
    found = {(name, level): each for level in ("each", "corpus") for name, each in (("codetune", runs), ("codebleu", slow))}
    record = make_record([("a", "b"), ("c", "d")], [EQUAL, GRAMMAR], found, 16, (0.1, 0.2))
    assert record["exceptions"] == [{"pair": ("c", "d"), "reason": GRAMMAR}]
    assert record["reasons"] == {**dict.fromkeys(REASONS, 0), EQUAL: 1, GRAMMAR: 1} == counted([GRAMMAR, EQUAL])
    assert "| codetune | 8 | 8 |\n| codebleu | 1 | 1 |\n| codetune is faster by | 8.0x | 8.0x |" in report(record)


def test_a_file_that_is_too_short_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "train.json"
    data.write_text('[{"intent": "add", "snippet": "a + b"}]')
    done = Forked(bench, "codebleu", "--data", str(data)).ended()
    assert (done.returncode, done.stderr) == (2, "error: --pairs 1000 --repeats 5: expected 2 to 1 pairs and 1 repeat or more\n")
