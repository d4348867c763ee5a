"""Mending against asking again: of programs that fail, how many are right after one try, two, ... as many as there are rounds.

    python -m bench mend                                             the shipped base, on references with one mistake
    python -m bench mend --adapter runs/quickstart/cells/lora-.../adapter --cases 60
    python -m bench mend --samples runs/x/samples-basics-known.jsonl   on what a model got wrong itself

The peer is the plain way to spend the same tries: the problem is asked anew, and no try knows of another. Both sides have the same model,
the same tests, the same decoding (the first try as asked for, later ones drawn ever more freely, each with a seed of its own) and stop at
the first program that passes all tests. The sandbox alone says what passes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.broken import broken
from bench.environment import say
from codetune.config import DecodingConfig
from codetune.data import benchmarks
from codetune.data.benchmarks import Benchmark
from codetune.data.samples import read_samples
from codetune.errors import UserError
from codetune.generate.live import LiveEngine
from codetune.mending import Asking, mend
from codetune.prompts.extract import extract_program, program_of
from codetune.prompts.mending import question
from codetune.records import Message, Problem, Verdict
from codetune.score.execution import Checker
from codetune.score.statistics import wilson_interval
from codetune.score.verdicts import open_checker

WHAT = "Mending in rounds against asking anew: how many failing programs come right in so many tries."
HOW_LONG = "Some minutes with the shipped base."
_AT_ONCE = 8  # cases


@dataclass(frozen=True, slots=True)
class Case:
    """One program that failed, and the try that came right on either side; 0 where none did."""

    task_id: str
    mended: int
    resampled: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="codetune-base", help="codetune-base, a folder, or a hub id")
    parser.add_argument("--adapter", type=Path, default=None, help="what was tuned on it")
    parser.add_argument("--benchmark", default="basics-known", help="a benchmark with tests and references")
    parser.add_argument("--samples", type=Path, default=None, help="mend the samples that fail, in place of spoilt references")
    parser.add_argument("--cases", type=int, default=40, help="programs at most")
    parser.add_argument("--rounds", type=int, default=4, help="tries on either side")
    parser.add_argument("--max-new-tokens", type=int, default=160, help="the longest answer")
    parser.add_argument("--seed", type=int, default=0, help="of the mistakes, and of the sampling")
    parser.add_argument("--out", type=Path, default=None, help="also write every case here, as JSON")


def run(options: argparse.Namespace) -> None:
    """Measure both sides on the same cases and print the table. Raises UserError where there is nothing to mend."""
    from codetune.generate.continuous import ContinuousEngine  # it imports torch, which other benchmarks do without
    from codetune.models.several import open_voices

    if options.cases < 1 or options.rounds < 1:
        raise UserError(f"--cases {options.cases} --rounds {options.rounds}: at least 1 each")
    benchmark = benchmarks.load(options.benchmark)
    decoding = DecodingConfig(max_new_tokens=options.max_new_tokens, seed=options.seed)
    with open_checker() as checker:
        failing = failing_programs(benchmark, options, checker)
        if not failing:
            raise UserError(f"nothing of {options.samples or options.benchmark} fails: there is nothing to mend")
        say(f"{len(failing)} programs fail")
        adapters = {"tuned": options.adapter} if options.adapter else {}
        with closing(ContinuousEngine(open_voices(options.model, adapters), rows=_AT_ONCE)) as engine:
            started = time.perf_counter()
            cases = measure(failing, engine, engine.models()[-1].name, decoding, options.rounds, checker)
    print(report(cases, options.rounds))
    say(f"{time.perf_counter() - started:.0f} s, sandbox included")
    if options.out:
        settings = {name: str(value) for name, value in vars(options).items()}
        options.out.write_text(json.dumps({"settings": settings, "cases": [asdict(case) for case in cases]}, indent=1) + "\n")


def failing_programs(benchmark: Benchmark, options: argparse.Namespace, checker: Checker) -> list[tuple[str, Problem]]:
    """Programs with the problems whose tests they fail: spoilt references, or a file's samples, one for each problem."""
    if options.samples is None:
        return broken(benchmark.problems, options.cases, options.seed, checker)
    problems = {problem.task_id: problem for problem in benchmark.problems}
    samples = read_samples(options.samples, benchmark)
    first = {sample.task_id: sample for sample in reversed(samples)}.values()
    jobs = [(program_of(problems[sample.task_id], sample), problems[sample.task_id]) for sample in reversed(first)]
    return [job for job, result in zip(jobs, checker.check(jobs), strict=True) if result.verdict is not Verdict.PASSED][: options.cases]


def measure(
    failing: Sequence[tuple[str, Problem]], engine: LiveEngine, model: str, decoding: DecodingConfig, rounds: int, checker: Checker
) -> list[Case]:
    """Both sides on every program, several programs at once: answers that are written together are no others than those written alone."""

    def asking() -> Asking:
        return Asking(engine, model, decoding)

    def one(job: tuple[str, Problem]) -> Case:
        program, problem = job
        mended = mended_in(program, problem, asking(), rounds, checker)
        return Case(problem.task_id, mended, resampled_in(problem, asking(), rounds, checker))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, failing))


def mended_in(program: str, problem: Problem, asking: Asking, rounds: int, checker: Checker) -> int:
    """The round that passed, 0 for none."""
    last = list(mend(program, problem, asking, checker, rounds))[-1]
    return last.number if last.passed else 0


def resampled_in(problem: Problem, ask: Callable[[tuple[Message, ...]], str], rounds: int, checker: Checker) -> int:
    """The try that passed where the problem is asked anew each time, 0 for none."""
    asked = (question(problem),)
    for number in range(1, rounds + 1):
        (result,) = checker.check([(extract_program(ask(asked), problem), problem)])
        if result.verdict is Verdict.PASSED:
            return number
    return 0


def report(cases: Sequence[Case], rounds: int) -> str:
    """How many of all are right after each try, with Wilson's 95% interval, and who alone was right in the end."""
    lines = [f"{'tries':>5}  {'mended':>22}  {'asked anew':>22}"]
    for number in range(1, rounds + 1):
        shares = []
        for name in ("mended", "resampled"):
            right = sum(0 < getattr(case, name) <= number for case in cases)
            interval = wilson_interval(right, len(cases))
            shares.append(f"{right}/{len(cases)} ({100 * interval.low:.0f} to {100 * interval.high:.0f}%)")
        lines.append(f"{number:>5}  {shares[0]:>22}  {shares[1]:>22}")
    mended = sum(bool(case.mended) and not case.resampled for case in cases)
    anew = sum(bool(case.resampled) and not case.mended for case in cases)
    both = sum(bool(case.mended and case.resampled) for case in cases)
    return "\n".join([*lines, f"mended alone: {mended}; asked anew alone: {anew}; both: {both}"])
