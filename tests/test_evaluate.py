"""Scoring samples: the sums, the refusals, and what each sample is told; through the real sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from codetune.config import DecodingConfig
from codetune.data.benchmarks import Benchmark, Kind
from codetune.errors import UserError
from codetune.evaluate import answer, score_samples
from codetune.generate import FakeEngine
from codetune.prompts.template import make_template
from codetune.records import AssertTest, CallTest, Problem, ProgramResult, Sample, Verdict
from codetune.sandbox import Sandbox
from codetune.score.execution import Job, run_programs

ADD = Problem(
    "add", prompt="def add(a, b):\n", reference="    return a + b\n", entry_point="add", tests=(AssertTest("assert add(1, 2) == 3"),)
)
TWICE = Problem(
    "twice", instruction="Double x.", reference="def twice(x):\n    return 2 * x\n", entry_point="twice", tests=(CallTest((2,), 4),)
)
RIGHT = [Sample("add", completion="    return a + b\n"), Sample("twice", solution="def twice(x):\n    return x + x\n")]


def benchmark(*problems: Problem, kind: Kind = "execution") -> Benchmark:
    return Benchmark("mine", kind, problems, "mine.jsonl", "0" * 64)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as box:
        yield box


def test_pass_rate_verdicts_and_intervals(sandbox: Sandbox) -> None:
    samples = [RIGHT[0], Sample("twice", solution="def twice(x):\n    return x\n")]
    scores = score_samples(benchmark(ADD, TWICE), samples, sandbox)
    assert scores.pass_at_k == {"1": 0.5}
    low, high = scores.pass_at_k_ci95["1"]
    assert (round(low, 4), round(high, 4)) == (0.0945, 0.9055)  # Wilson, 1 of 2
    assert scores.verdicts == {"passed": 1, "wrong_answer": 1}
    assert sum(scores.integrity.values()) == 2
    assert scores.sandbox_tier == sandbox.tier
    assert [score.result.verdict for score in scores.samples if score.result] == [Verdict.PASSED, Verdict.WRONG_ANSWER]
    assert scores.samples[0].program == "def add(a, b):\n    return a + b\n"


def test_unbiased_pass_at_k_over_problems(sandbox: Sandbox) -> None:
    wrong = Sample("add", completion="    return 0\n")
    samples = [RIGHT[0]] * 3 + [wrong] * 7 + [RIGHT[1]] * 10
    scores = score_samples(benchmark(ADD, TWICE), samples, sandbox, ks=[1, 5, 11])
    assert scores.pass_at_k == {"1": pytest.approx((0.3 + 1) / 2), "5": pytest.approx((11 / 12 + 1) / 2)}
    assert scores.notices == ("pass@11 is left out: it needs 11 samples of every problem, and there are 10",)


def test_the_problem_with_the_fewest_samples_limits_k(sandbox: Sandbox) -> None:
    scores = score_samples(benchmark(ADD, TWICE), [RIGHT[0], RIGHT[0], RIGHT[1]], sandbox, ks=[1, 2])
    assert list(scores.pass_at_k) == ["1"]
    assert score_samples(benchmark(ADD, TWICE), RIGHT, sandbox).notices == ()  # the default ks are nobody's request


def test_missing_samples_are_refused_unless_allowed(sandbox: Sandbox) -> None:
    with pytest.raises(UserError, match=r"1 of 2 problems of mine have no sample \(twice\); add them, or give --allow-missing"):
        score_samples(benchmark(ADD, TWICE), RIGHT[:1], sandbox)
    scores = score_samples(benchmark(ADD, TWICE), RIGHT[:1], sandbox, allow_missing=True)
    assert (scores.num_problems, scores.pass_at_k["1"]) == (1, 1.0)
    assert scores.notices == ("1 of 2 problems of mine have no sample (twice); scored are the other 1",)


def test_text_metrics_compare_what_was_written(sandbox: Sandbox) -> None:
    scores = score_samples(benchmark(ADD, TWICE), RIGHT, sandbox)
    assert scores.metrics["syntax_valid"] == 1.0  # of the whole program: the continuation alone is not one
    assert scores.samples[0].metrics["exact_match"] == 1.0
    assert scores.samples[1].metrics["exact_match"] == 0.0
    assert scores.metrics["exact_match"] == 0.5
    empty = score_samples(benchmark(ADD), [Sample("add", completion="")], sandbox)
    assert empty.metrics["bleu"] == 0.0  # the prompt, which both share, flatters nobody


def test_metrics_can_be_chosen(sandbox: Sandbox) -> None:
    scores = score_samples(benchmark(ADD, TWICE), RIGHT, sandbox, metrics=["rouge_l", "pass_at_k"])
    assert list(scores.metrics) == ["rouge_l"]
    assert "rouge_l" in scores.signatures
    assert score_samples(benchmark(ADD, TWICE), RIGHT, sandbox, metrics=["pass_at_k"]).metrics == {}
    with pytest.raises(UserError, match="unknown metric 'rouge'; did you mean 'rouge_l'"):
        score_samples(benchmark(ADD, TWICE), RIGHT, sandbox, metrics=["rouge"])


def test_text_benchmarks_need_no_sandbox() -> None:
    wish = Problem("t/0", instruction="sort l", reference="sorted(l)")
    scores = score_samples(benchmark(wish, kind="text"), [Sample("t/0", completion="sorted(l)")], None)
    assert (scores.pass_at_k, scores.verdicts, scores.sandbox_tier) == ({}, {}, "")
    assert scores.metrics["exact_match"] == 1.0
    with pytest.raises(UserError, match="has no tests, so no pass_at_k"):
        score_samples(benchmark(wish, kind="text"), [Sample("t/0", completion="")], None, metrics=["pass_at_k"])


class Counting:
    """The sandbox, with a count of the programs that it ran."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.tier, self.programs = sandbox, sandbox.tier, 0

    def check(self, jobs: Iterable[Job]) -> Iterator[ProgramResult]:
        for result in self.sandbox.check(jobs):
            self.programs += 1
            yield result


def test_equal_programs_run_once_and_results_keep_their_order(sandbox: Sandbox) -> None:
    counting, settled = Counting(sandbox), list[int]()
    right, wrong = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return 0\n"
    other = Problem("sub", entry_point="add", tests=(AssertTest("assert add(1, 2) == 0"),))
    jobs = [(right, ADD), (wrong, ADD), (right, ADD), (right, other), (wrong, other)]
    verdicts = [result.verdict.value for result in run_programs(jobs, counting, settled.append)]
    assert verdicts == ["passed", "wrong_answer", "passed", "wrong_answer", "passed"]
    assert counting.programs == 4
    assert sum(settled) == 5


def test_the_summary_is_the_json_contract(sandbox: Sandbox) -> None:
    summary = score_samples(benchmark(ADD, TWICE), RIGHT, sandbox).summary()
    assert {"benchmark", "num_problems", "num_samples", "metrics", "signatures"} <= summary.keys()
    assert {"pass_at_k", "pass_at_k_ci95", "verdicts", "sandbox_tier"} <= summary.keys()
    assert "samples" not in summary
    assert summary["pass_at_k"] == {"1": 1.0}
    assert set(summary["metrics"]) >= {
        "bleu", "codebleu", "codebleu_lexed", "rouge_l", "chrf", "exact_match", "edit_similarity", "syntax_valid"
    }  # fmt: skip


RUN_ON = "    return a + b\n\nIt adds."
CHAT = "Here:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds."


@pytest.mark.parametrize(
    ("style", "written", "sample"),
    [
        ("completion", "    return a + b\n", Sample("add", completion="    return a + b\n")),
        ("completion", RUN_ON, Sample("add", completion="    return a + b\n\n", raw=RUN_ON)),
        ("instruction", CHAT, Sample("add", solution="def add(a, b):\n    return a + b\n", raw=CHAT)),
        ("instruction", "def add(a, b):\n    return a + b\n", Sample("add", solution="def add(a, b):\n    return a + b\n")),
    ],
    ids=["continued", "run on", "in words", "alone"],
)
def test_answers_of_every_form_become_the_program_that_was_meant(style: str, written: str, sample: Sample, sandbox: Sandbox) -> None:
    answers = answer(FakeEngine({"add": written}), benchmark(ADD), make_template(style), DecodingConfig())
    (made,) = answers.samples
    assert (made.completion, made.solution, made.raw) == (sample.completion, sample.solution, sample.raw)
    assert score_samples(benchmark(ADD), answers.samples, sandbox).pass_at_k == {"1": 1.0}


def test_text_benchmarks_keep_what_was_written() -> None:
    wish = Problem("t/0", instruction="print x", reference="print x")
    text = benchmark(wish, kind="text")
    (made,) = answer(FakeEngine({"t/0": "import os\nprint x"}), text, make_template("instruction"), DecodingConfig()).samples
    assert (made.solution, made.raw) == ("import os\nprint x", "")


def test_helpers_of_the_prompt_flatter_no_text_metric(sandbox: Sandbox) -> None:
    helper = "def double(x):\n    return 2 * x\n\n\n"
    problem = Problem("p", prompt=helper, reference="def four(x):\n    return double(double(x))\n", entry_point="four", tests=ADD.tests)
    (made,) = answer(FakeEngine({"p": "four = 4"}), benchmark(problem), make_template("instruction"), DecodingConfig()).samples
    assert made.solution == helper + "four = 4"
    assert score_samples(benchmark(problem), [made], sandbox, metrics=["bleu"]).metrics["bleu"] == 0.0
