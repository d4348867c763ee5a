"""Lint findings and complexity: counted by hand, on the model's own lines only, and never in the way of a bad program."""

from __future__ import annotations

import doctest
import sys

import pytest

from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError
from codetune.evaluate import score_samples
from codetune.records import Problem, Sample
from codetune.score import readability as module
from codetune.score.readability import Written, readability

BOTH = ["lint", "complexity"]
CLEAN = "def f(x):\n    return x + 1\n"
# F401 unused import, E741 ambiguous name, E711 comparison to None: three findings on four lines
FAULTY = "import os\n\nl = 1\ndef f(x):\n    return x == None\n"
# two ifs and a loop: McCabe 4; the method has 1
BRANCHES = """\
def f(xs):
    for x in xs:
        if x:
            print(x)
    if xs:
        print(xs)


class A:
    def m(self):
        pass
"""


def test_doctests() -> None:
    assert doctest.testmod(module).failed == 0


def test_by_hand() -> None:
    found = readability([Written(CLEAN), Written(FAULTY)], BOTH)
    assert found.values == {"lint": pytest.approx(100 * 3 / 6), "complexity": 1.0}
    assert readability([Written(BRANCHES)], ["complexity"]).values == {"complexity": 2.5}
    assert set(found.signatures) == set(BOTH)
    assert all("ruff-" in signature for signature in found.signatures.values())


def test_only_lines_that_the_model_wrote_have_findings() -> None:
    assert readability([Written(FAULTY, first_line=4)], ["lint"]).values == {"lint": 50.0}  # E711 on two lines
    assert readability([Written(FAULTY, first_line=3)], ["lint"]).values == {"lint": pytest.approx(100 * 2 / 3)}


def test_nothing_hides_a_finding_and_names_of_the_problem_are_none() -> None:
    assert readability([Written("x = given == None  # noqa\n")], ["lint"]).values == {"lint": 100.0}
    assert readability([Written("df.groupby(df.a)")], ["lint"]).values == {"lint": 0.0}


@pytest.mark.parametrize("program", ["", "\n", "def f(", "\0", "'\ud800'", "x = " + "(" * 300, "-" * 3000 + "1", "(" * 30_000])
def test_programs_that_do_not_parse_are_left_out(program: str) -> None:
    found = readability([Written(program), Written(CLEAN)], BOTH)
    assert (found.values, found.num_programs) == ({"lint": 0.0, "complexity": 1.0}, 1)
    assert readability([Written(program)], BOTH) == module.Readability()


def test_scores_have_it_beside_the_metrics() -> None:
    problem = Problem("t/0", prompt="import os\n\n\ndef f(x):\n", reference="    return x\n")
    benchmark = Benchmark("mine", "text", (problem,), "mine.jsonl", "")
    samples = [Sample("t/0", completion="    return x == None\n"), Sample("t/0", completion="    return (", index=1)]
    scores = score_samples(benchmark, samples, None, metrics=["exact_match", "lint", "complexity"])
    assert scores.readability == {"lint": 100.0, "complexity": 1.0}
    assert list(scores.metrics) == ["exact_match"]
    assert {"exact_match", "lint", "complexity"} == set(scores.signatures)
    assert scores.notices == ("lint and complexity are over the 1 of 2 programs that parse",)
    assert score_samples(benchmark, samples, None).readability == {}  # nobody asked


def test_a_missing_ruff_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruff", None)  # Python's way to say that a package cannot be imported
    with pytest.raises(UserError, match=r"lint need ruff, which is not installed; pip install 'codetune\[readability\]'"):
        readability([Written(CLEAN)], ["lint"])
