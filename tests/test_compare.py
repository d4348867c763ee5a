"""Two sets of samples on the same problems: the gap, its interval and its test, by hand, and from the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from codetune.cli.main import run
from codetune.compare import compare
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError
from codetune.evaluate import Scores
from codetune.records import Problem, ProgramResult, Sample, SampleScore, Verdict
from codetune.score.bleu import CONALA
from codetune.score.statistics import mcnemar_p, paired_bootstrap, paired_difference

PROBLEMS = tuple(Problem(f"t/{number}", instruction="x", reference=f"f(a, {number}) + {number}") for number in range(20))
EXECUTION, TEXT = (Benchmark("mine", kind, PROBLEMS, "mine.jsonl", "") for kind in ("execution", "text"))


def outcomes(*passed: str) -> tuple[Scores, list[Sample]]:
    """Scores with one sample per letter and problem: p passed, f failed."""
    rows = [(problem.task_id, letter) for problem, letters in zip(PROBLEMS, passed, strict=False) for letter in letters]
    results = [ProgramResult(Verdict.PASSED if letter == "p" else Verdict.WRONG_ANSWER) for _, letter in rows]
    scored = tuple(SampleScore(task_id, 0, "", result) for (task_id, _), result in zip(rows, results, strict=True))
    return Scores("mine", "", len(passed), len(rows), samples=scored), [Sample(task_id, completion="") for task_id, _ in rows]


def texts(samples: list[Sample]) -> list[str]:
    return [sample.completion or "" for sample in samples]


def test_one_sample_each_is_mcnemar_s_test() -> None:
    first, second = outcomes(*"p" * 8, *"f" * 2, *"p" * 10), outcomes(*"f" * 8, *"p" * 2, *"p" * 10)
    found = compare(EXECUTION, first, second)
    assert (found.metric, found.num_problems) == ("pass@1", 20)
    assert found.difference == paired_difference([1] * 8 + [0] * 2 + [1] * 10, [0] * 8 + [1] * 2 + [1] * 10)
    assert found.difference.p_value == mcnemar_p(8, 2)
    half = 1.959964 * math.sqrt((12 / 22 - (6 / 22) ** 2) / 22)
    assert found.summary()["ci95"] == pytest.approx([6 / 22 - half, 6 / 22 + half], abs=1e-6)


def test_samples_are_averaged_and_only_common_problems_count() -> None:
    found = compare(EXECUTION, outcomes("ppff", "pf", "p", "f"), outcomes("pfff", "ff", "p"))
    assert found.num_problems == 3
    assert found.difference.value == pytest.approx((0.25 + 0.5 + 0) / 3)
    assert (found.difference.wins, found.difference.losses) == (2, 0)


def test_text_is_compared_by_the_paired_bootstrap_of_bleu() -> None:
    right = [Sample(problem.task_id, completion=problem.reference) for problem in PROBLEMS]
    wrong = [Sample(problem.task_id, completion=problem.reference.replace("a", "b")) for problem in PROBLEMS]
    nothing = Scores("mine", "", 20, 20)
    found = compare(TEXT, (nothing, right), (nothing, wrong))
    counts = [
        CONALA.counts([(sample.completion or "", [p.reference]) for sample, p in zip(s, PROBLEMS, strict=True)]) for s in (right, wrong)
    ]
    assert found.difference == paired_bootstrap(*counts, CONALA.score)
    assert (found.metric, found.difference.wins) == ("bleu", 20)
    doubled = compare(TEXT, (nothing, right + right), (nothing, wrong + wrong))
    assert doubled.difference.value == pytest.approx(found.difference.value)


def test_one_common_problem_is_too_few() -> None:
    with pytest.raises(UserError, match="1 problems of mine have samples in both files"):
        compare(EXECUTION, outcomes("p", "p"), outcomes("p"))


def test_score_against_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(name: str, rows: list[dict[str, str]]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(tmp_path / name)

    problems = [{"task_id": str(n), "instruction": "Add.", "entry_point": "f", "tests": [f"assert f({n}) == {n + 1}"]} for n in range(6)]
    benchmark = write("own.jsonl", problems)  # type: ignore[arg-type]
    good, bad = ([{"task_id": str(n), "solution": f"def f(x):\n    return x + {step}\n"} for n in range(6)] for step in (1, 2))
    files = [write("good.jsonl", good), "--benchmark", benchmark, "--against", write("bad.jsonl", bad)]
    assert run(["score", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pass_at_k"] == {"1": 1.0}
    assert found["against"]["value"] == 1.0
    assert found["against"]["p_value"] == 2 / 64
    assert found["against"]["wins"] == 6
    assert run(["score", *files]) == 0
    assert "pass@1 on 6 problems: +100.0 points, 95% interval +29.2 to +100.0; better on 6 problems, worse on 0; p = 0.0312" in (
        capsys.readouterr().out
    )
