"""From problems to samples to scores: `answer` has an engine write the samples, `score_samples` runs and measures them.

    benchmark = benchmarks.load("humaneval")
    with open_checker() as sandbox:
        answers = answer(engine, benchmark, template, decoding)
        scores = score_samples(benchmark, answers.samples, sandbox)
    print(scores.pass_at_k["1"], scores.pass_at_k_ci95["1"])
"""

from __future__ import annotations

import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from codetune.callable import make_callable
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError, nearest
from codetune.generate.request import TOO_LONG, Engine, Generated, Request
from codetune.prompts.extract import extract_completion, extract_program, preamble, program_of
from codetune.prompts.template import Template
from codetune.records import Json, Problem, ProgramResult, Sample, SampleScore, Verdict, to_json
from codetune.score.execution import Checker, Job, count_exceptions, count_integrity, count_verdicts, passes_by_problem, run_programs
from codetune.score.loads import score_loads
from codetune.score.pass_at_k import per_problem, usable_ks
from codetune.score.readability import UNITS as READABILITY
from codetune.score.readability import Written, readability, require_ruff
from codetune.score.statistics import mean_interval
from codetune.score.text import CONVENTIONS, METRICS, TextScores, score_text

if TYPE_CHECKING:  # pydantic takes a tenth of a second, which scoring can do without
    from codetune.config import DecodingConfig

make_callable(__name__)  # `codetune.evaluate(...)` is the API's call

PASS_AT_K = "pass_at_k"
DEFAULT_KS = (1, 10, 100)
_NO_ANSWER = ProgramResult(Verdict.WRONG_ANSWER, "the prompt does not fit the model's positions")  # even where the tests ask nothing of it


@dataclass(frozen=True, slots=True)
class Scores:
    """All that was found out about the samples of one benchmark. Shares and metrics are fractions in 0..1.

    `pass_at_k`, `verdicts`, `exceptions` (by type), `integrity` and `sandbox_tier` are empty where nothing was executed; `metrics`,
    `signatures` and `codebleu_parts` where there are no references. `loads` (see `LoadScores`) is for benchmarks without tests alone,
    which have no `pass_at_k`. `readability` has units of its own and is empty unless asked for. Keys of `pass_at_k` are k as a string,
    as JSON has them. `samples` has one score per sample, in the samples' order.
    """

    benchmark: str
    benchmark_sha256: str
    num_problems: int
    num_samples: int
    pass_at_k: dict[str, float] = field(default_factory=dict)
    pass_at_k_ci95: dict[str, tuple[float, float]] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    exceptions: dict[str, int] = field(default_factory=dict)
    integrity: dict[str, int] = field(default_factory=dict)
    sandbox_tier: str = ""
    loads: Json = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    codebleu_parts: Json = field(default_factory=dict)
    readability: dict[str, float] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    samples: tuple[SampleScore, ...] = ()

    def summary(self) -> Json:
        """The scores as a JSON object, without the single samples."""
        found: Json = to_json(replace(self, samples=()))
        del found["samples"]
        return found


@dataclass(frozen=True, slots=True)
class Answers:
    """What an engine wrote for a benchmark, and how: everything without which its scores mean nothing."""

    samples: tuple[Sample, ...]
    generation: Json

    def rows(self) -> list[Json]:
        """Rows for a SAMPLES.jsonl: fields that say nothing are left out, but an empty answer is one."""
        said = ("completion", "solution")
        rows: list[Json] = [to_json(sample) for sample in self.samples]
        return [{key: value for key, value in row.items() if value is not None and (value != "" or key in said)} for row in rows]


def answer(
    engine: Engine,
    benchmark: Benchmark,
    template: Template,
    decoding: DecodingConfig,
    report: Callable[[int, int], None] | None = None,
) -> Answers:
    """`decoding.n` samples of every problem, in the benchmark's order. `report(done, all)` is told as sequences end."""
    problems = {problem.task_id: problem for problem in benchmark.problems}
    requests = [request(template, problem, decoding.n) for problem in benchmark.problems]
    done, started = 0, time.perf_counter()

    def count(made: Sequence[Generated]) -> None:
        nonlocal done
        done += len(made)
        if report:
            report(done, decoding.n * len(requests))

    generated = engine.generate(requests, decoding, count)
    seconds = time.perf_counter() - started
    tokens = sum(one.num_tokens for one in generated)
    generation: Json = {
        "seconds": seconds, "tokens": tokens, "tokens_per_s": tokens / seconds if seconds else 0.0,
        "finish": dict(Counter(one.finish for one in generated)), "decoding": decoding.model_dump(mode="json"), "engine": engine.name,
        "prompt_style": template.style, "few_shot": len(template.examples), "batch_size": decoding.batch_size,
        "stop_sequences": sorted({stop for each in requests for stop in each.stop}),
    }  # fmt: skip
    cut = benchmark.kind != "text"  # what was written is what text metrics are of
    return Answers(tuple(_sample(template, problems[one.task_id], one, cut) for one in generated), generation)


def request(template: Template, problem: Problem, n: int = 1) -> Request:
    """What an engine is asked for a problem: its prompt, and where the answer ends at the latest."""
    rendered = template.render(problem)
    return Request(problem.task_id, rendered.prompt, n, template.stop_sequences(problem), rendered.has_special)


def _sample(template: Template, problem: Problem, one: Generated, cut: bool) -> Sample:
    """A completion of the problem's code, or a whole program; `raw` is the text that it was found in, if that is not all."""
    if one.finish == TOO_LONG:
        return Sample(one.task_id, solution="", index=one.index, finish=TOO_LONG)
    completion = solution = None
    if template.continues_code(problem):
        completion = extract_completion(one.text, problem) if cut else one.text
    else:
        solution = extract_program(one.text, problem, cut)
    raw = "" if one.text in (completion, solution) else one.text
    return Sample(one.task_id, completion, solution, one.index, one.finish, one.num_tokens, raw)


def score_samples(
    benchmark: Benchmark,
    samples: Sequence[Sample],
    sandbox: Checker | None,
    *,
    ks: Sequence[int] | None = None,
    metrics: Sequence[str] | None = None,
    allow_missing: bool = False,
    on_result: Callable[[int], None] | None = None,
) -> Scores:
    """Score samples: tests in the sandbox (which only text benchmarks can do without), text metrics where there are references.

    `ks` defaults to 1, 10 and 100 as far as every problem has samples; a k asked for that is larger is left out with a notice.
    `metrics` names text metrics (default: all) and measures of readability (default: none); "pass_at_k" among them asks for
    nothing more, as tests run in any case.
    `on_result` is told how many samples each finished program settled. Raises UserError for problems without a sample unless
    `allow_missing`, and for unknown metrics.
    """
    wanted = _text_metrics(benchmark, metrics)
    problems, notices = _answered(benchmark, samples, allow_missing)
    if too_long := {sample.task_id for sample in samples if sample.finish == TOO_LONG}:
        notices.append(f"{len(too_long)} of {len(problems)} prompts do not fit the model's positions: not answered, counted as failed")
    jobs = [(program_of(problems[sample.task_id], sample), problems[sample.task_id]) for sample in samples]
    scores = Scores(benchmark.name, benchmark.sha256, len(problems), len(samples))
    results: Sequence[ProgramResult | None] = [None] * len(jobs)
    if benchmark.kind == "execution":
        if sandbox is None:
            raise ValueError(f"benchmark {benchmark.name!r} has tests: a sandbox is needed")
        ran = run_programs(jobs, sandbox, on_result)
        settled = [_NO_ANSWER if sample.finish == TOO_LONG else result for sample, result in zip(samples, ran, strict=True)]
        scores, ks_notices = _with_execution(scores, jobs, settled, sandbox.tier, ks)
        results, notices = settled, notices + ks_notices
    elif benchmark.kind == "loads":
        if sandbox is None:
            raise ValueError(f"benchmark {benchmark.name!r} runs definitions: a sandbox is needed")
        loaded, results = score_loads(jobs, sandbox, on_result)
        scores = replace(scores, loads=to_json(loaded), verdicts=count_verdicts(results), sandbox_tier=sandbox.tier)
    text = None
    if wanted and all(problem.reference for problem in problems.values()):
        text = _score_text(samples, jobs, wanted)
        scores = replace(scores, metrics=text.metrics, signatures=text.signatures, codebleu_parts=to_json(text.parts))
    elif wanted and metrics is not None:
        notices.append("text metrics are left out: some problems have no reference")
    if measures := [name for name in metrics or () if name in READABILITY]:
        scores, left_out = _with_readability(scores, samples, jobs, measures)
        notices += left_out
    return replace(scores, notices=tuple(notices), samples=_sample_scores(samples, jobs, results, text))


def _text_metrics(benchmark: Benchmark, metrics: Sequence[str] | None) -> list[str]:
    if metrics is None:
        return list(METRICS)
    known = [*METRICS, *CONVENTIONS, *READABILITY, PASS_AT_K]
    for name in metrics:
        if name not in known:
            raise UserError(f"unknown metric {name!r}; {nearest(name, known)}")
    require_ruff([name for name in metrics if name in READABILITY])
    if PASS_AT_K in metrics and benchmark.kind != "execution":
        raise UserError(f"benchmark {benchmark.name!r} has no tests, so no pass_at_k; valid: {', '.join(METRICS)}")
    return [name for name in metrics if name in METRICS | CONVENTIONS]


def _answered(benchmark: Benchmark, samples: Sequence[Sample], allow_missing: bool) -> tuple[dict[str, Problem], list[str]]:
    """The problems that have samples, by `task_id`, and a notice where some have none."""
    given = {sample.task_id for sample in samples}
    problems = {problem.task_id: problem for problem in benchmark.problems if problem.task_id in given}
    missing = [problem.task_id for problem in benchmark.problems if problem.task_id not in given]
    if not missing:
        return problems, []
    which = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    lack = f"{len(missing)} of {len(benchmark.problems)} problems of {benchmark.name} have no sample ({which})"
    if not allow_missing:
        raise UserError(f"{lack}; add them, or give --allow-missing to score the rest")
    return problems, [f"{lack}; scored are the other {len(problems)}"]


def _with_execution(
    scores: Scores, jobs: Sequence[Job], results: Sequence[ProgramResult], tier: str, ks: Sequence[int] | None
) -> tuple[Scores, list[str]]:
    counts = list(passes_by_problem(jobs, results).values())
    failures = [result for result in results if result.verdict is Verdict.INFRASTRUCTURE]
    if failures and not counts:
        raise UserError(f"the sandbox failed on every program ({failures[0].detail}); run `codetune doctor`")
    usable, too_large = usable_ks(counts, DEFAULT_KS if ks is None else ks)
    estimates = {str(k): mean_interval(per_problem(counts, k)) for k in usable}
    least = min(n for n, _ in counts)
    notices = [f"pass@{k} is left out: it needs {k} samples of every problem, and there are {least}" for k in too_large if ks is not None]
    if failures:
        notices.append(f"{len(failures)} programs could not be judged ({failures[0].detail}) and do not count: run again")
    if tier.startswith("T0"):
        notices.append("these programs ran without a sandbox: no score of theirs can be trusted")
    executed = replace(
        scores,
        pass_at_k={k: estimate.value for k, estimate in estimates.items()},
        pass_at_k_ci95={k: (estimate.low, estimate.high) for k, estimate in estimates.items()},
        verdicts=count_verdicts(results),
        exceptions=count_exceptions(results),
        integrity=count_integrity(results),
        sandbox_tier=tier,
    )
    return executed, notices


def _with_readability(scores: Scores, samples: Sequence[Sample], jobs: Sequence[Job], measures: Sequence[str]) -> tuple[Scores, list[str]]:
    """Whole programs are read, since a continuation alone does not parse; findings count from the line where the prompt ends."""
    lines = [
        1 if sample.solution is not None else 1 + problem.prompt.count("\n") for sample, (_, problem) in zip(samples, jobs, strict=True)
    ]
    found = readability([Written(program, line) for (program, _), line in zip(jobs, lines, strict=True)], measures)
    notice = f"{' and '.join(measures)} are over the {found.num_programs} of {len(jobs)} programs that parse"
    measured = replace(scores, readability=found.values, signatures=scores.signatures | found.signatures)
    return measured, [notice] if found.num_programs < len(jobs) else []


def _score_text(samples: Sequence[Sample], jobs: Sequence[Job], metrics: Sequence[str]) -> TextScores:
    """Text metrics of what the model wrote; whether it is valid syntax is asked of the whole program."""
    written = [pair_of(sample, problem) for sample, (_, problem) in zip(samples, jobs, strict=True)]
    text = score_text(written, [name for name in metrics if name != "syntax_valid"])
    if "syntax_valid" not in metrics:
        return text
    whole = score_text([(program, [problem.reference_program]) for program, problem in jobs], ["syntax_valid"])
    return TextScores(
        metrics=text.metrics | whole.metrics,
        samples=tuple(one | other for one, other in zip(text.samples, whole.samples, strict=True)),
        signatures=text.signatures | whole.signatures,
        parts=text.parts,
    )


def pair_of(sample: Sample, problem: Problem) -> tuple[str, list[str]]:
    """What is compared with what: programs, or completion and reference, in any case without the prompt, which would flatter both."""
    if sample.solution is not None:
        given = preamble(problem)
        return sample.solution.removeprefix(given), [problem.reference_program.removeprefix(given)]
    if problem.prompt:  # continuations are indented as in the prompt's function: taken to the margin they can be parsed
        return textwrap.dedent(sample.completion or ""), [textwrap.dedent(problem.reference)]
    return sample.completion or "", [problem.reference]


def _sample_scores(
    samples: Sequence[Sample], jobs: Sequence[Job], results: Sequence[ProgramResult | None], text: TextScores | None
) -> tuple[SampleScore, ...]:
    measured = text.samples if text else [{}] * len(jobs)
    return tuple(
        SampleScore(sample.task_id, sample.index, program, result, metrics)
        for sample, (program, _), result, metrics in zip(samples, jobs, results, measured, strict=True)
    )
