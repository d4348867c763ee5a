"""How `generate` and `evaluate` have a benchmark answered, whatever answers: the seam, the choice of a prompt style, the answering."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console

from codetune.cli.flags import AnswerFlags
from codetune.cli.output import progress_bar
from codetune.config import DecodingConfig
from codetune.data import benchmarks
from codetune.data.benchmarks import Benchmark
from codetune.data.sources import austin_examples, load_source
from codetune.errors import UserError
from codetune.evaluate import Answers, answer, request
from codetune.generate.kept import KeptEngine
from codetune.generate.request import TOO_LONG, Engine
from codetune.prompts.template import AUSTIN_3SHOT, Template
from codetune.records import Json, Problem

# Where a benchmark's worked examples come from: training problems, never its own.
_EXAMPLES = {
    "basics": ("basics", "train"), "basics-known": ("basics", "train"), "basics-unseen": ("basics", "train"),
    "basics-validation": ("basics", "train"), "mbpp": ("mbpp", "examples"), "conala": ("conala", "train"),
}  # fmt: skip


class Answerer(Protocol):
    """A model that is ready to answer: an open one, or one behind a server. `identity` is what a result says of it."""

    identity: Json

    def usual_style(self, continues: bool) -> tuple[str, str]:
        """The prompt style where none is asked for, and why. `continues`: all problems are code to go on with."""

    def template(self, style: str, examples: Sequence[Problem]) -> Template:
        """Raises UserError for a style that the model cannot be asked in."""

    def engine(self, template: Template) -> Engine:
        """What writes the answers to prompts of this template."""

    def settings(self, template: Template) -> Json:
        """All of the model that an answer depends on, beyond decoding and prompt."""


def open_answerer(flags: AnswerFlags) -> Answerer:
    """Loads the model, or looks for the server. Raises UserError where it cannot be had."""
    if flags.engine == "openai":
        from codetune.cli.answer_openai import ServerAnswerer

        return ServerAnswerer(flags)
    from codetune.cli.answer_own import OwnAnswerer  # torch is loaded only where a model is

    return OwnAnswerer(flags)


def load_benchmark(name: str, data: Path | None, limit: int | None) -> Benchmark:
    """The benchmark, cut to its first `limit` problems."""
    benchmark = benchmarks.load(name, data)
    return dataclasses.replace(benchmark, problems=benchmark.problems[:limit])


def choose_template(
    answerer: Answerer, problems: Sequence[Problem], asked: str | None, examples: Sequence[Problem], say: Console
) -> Template:
    """The asked style, else the one that is usual for the model and the problems. Says which."""
    continues = bool(problems) and all(problem.prompt and not problem.instruction for problem in problems)
    style, why = (asked, "as asked") if asked else answerer.usual_style(continues)
    template = answerer.template(style, examples)
    say.print(f"prompt style: {style} ({why})")
    return template


def worked_examples(benchmark: str, count: int, data: Path | None, style: str | None = None) -> list[Problem]:
    """The first `count` training problems of the benchmark's own kind, or the style's own. Raises UserError where there are none."""
    if style == AUSTIN_3SHOT:
        if count not in (0, 3):
            raise UserError(f"--few-shot {count}: prompt style {style!r} has 3 examples of its own; leave --few-shot out")
        return list(austin_examples(data if benchmark in ("mbpp", "mbpp-all") else None))
    if count == 0:
        return []
    if benchmark not in _EXAMPLES:
        raise UserError(f"--few-shot {count}: no training problems to take examples from for {benchmark!r}; valid: {', '.join(_EXAMPLES)}")
    source, split = _EXAMPLES[benchmark]
    return list(load_source(source, split, data if source == "mbpp" else None))[:count]


def write_answers(
    answerer: Answerer, benchmark: Benchmark, template: Template, decoding: DecodingConfig, partial: Path | None, say: Console
) -> Answers:
    """The answers to all problems, with a bar on the terminal. Finished ones are found again in `partial`, which the caller removes."""
    engine, settings = answerer.engine(template), answerer.settings(template)
    kept = KeptEngine(engine, partial, settings | _of_the_prompts(benchmark, template, decoding)) if partial else None
    rooms = [engine.room(request(template, problem)) for problem in benchmark.problems]
    too_long = sum(room is not None and room < 1 for room in rooms)
    cramped = sum(room is not None and 1 <= room < decoding.max_new_tokens for room in rooms)
    _say_what_does_not_fit(too_long, cramped, benchmark, decoding, say)
    if kept and kept.found:
        say.print(f"{len(kept.found)} answers are there already; going on from them")
    with progress_bar(say) as progress:
        bar = progress.add_task(f"answering {benchmark.name}", total=len(benchmark.problems) * decoding.n)
        answers = answer(kept or engine, benchmark, template, decoding, lambda done, _: progress.update(bar, completed=done))
    if kept:
        rate = answers.generation["tokens"] / kept.seconds if kept.seconds else 0.0
        answers.generation.update(seconds=kept.seconds, tokens_per_s=rate)
    too_long = len({sample.task_id for sample in answers.samples if sample.finish == TOO_LONG})  # a server says so only now
    answers.generation.update(settings, prompts_too_long=too_long, prompts_cramped=None if None in rooms else cramped)
    return answers


def _of_the_prompts(benchmark: Benchmark, template: Template, decoding: DecodingConfig) -> Json:
    """All that an answer depends on but the model."""
    return {
        "benchmark": benchmark.sha256, "prompt_style": template.style, "few_shot": len(template.examples),
        **decoding.model_dump(mode="json"),
    }  # fmt: skip


def _say_what_does_not_fit(too_long: int, cramped: int, benchmark: Benchmark, decoding: DecodingConfig, say: Console) -> None:
    """Before hours of answering, not after."""
    of_all = f"of {len(benchmark.problems)} prompts of {benchmark.name}"
    if too_long:
        say.print(f"note: {too_long} {of_all} do not fit the model's positions: they get no answer, and count as failed")
    if cramped:
        say.print(f"note: {cramped} {of_all} leave room for fewer than {decoding.max_new_tokens} new tokens: they get those")
