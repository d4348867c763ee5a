"""What `generate`, `evaluate` and `chat` share: the flags that say which model answers and how, and the answering itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codetune.cli.output import progress_bar
from codetune.config import DecodingConfig, validate
from codetune.data import benchmarks
from codetune.data.benchmarks import Benchmark
from codetune.data.sources import austin_examples, load_source
from codetune.errors import UserError
from codetune.evaluate import Answers, answer
from codetune.generate.engine import OwnEngine
from codetune.generate.kept import KeptEngine
from codetune.methods import Adapted
from codetune.models.load import LoadedModel, model_hash
from codetune.models.open import Precision, open_model, trained_prompt_style
from codetune.prompts.template import AUSTIN_3SHOT, STYLES, Template
from codetune.records import Json, Problem

ModelFlag = Annotated[str, typer.Option("--model", help="codetune-base (ships with codetune), a folder, or a hub id.")]
AdapterFlag = Annotated[
    Path | None, typer.Option("--adapter", help="What was tuned: a run folder (runs/x), a PEFT adapter, or a whole tuned model.")
]
PrecisionFlag = Annotated[Precision, typer.Option("--precision", help="Of the weights. In bf16 a token may hang on the batch size.")]
StyleFlag = Annotated[
    str | None,
    typer.Option("--prompt-style", help=f"One of {', '.join(STYLES)}. Default: the one of the training, if known."),
]
DataFlag = Annotated[Path | None, typer.Option("--data", help="A local copy of the named benchmark's file.")]
LimitFlag = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many problems.")]
FewShotFlag = Annotated[int, typer.Option("--few-shot", min=0, help="Worked examples before each prompt.")]
SamplesFlag = Annotated[int, typer.Option("-n", "--n", help="Samples per problem.")]
TemperatureFlag = Annotated[float, typer.Option("--temperature", help="0 is greedy; 0.2 with --top-p 0.95 is the published sampling.")]
TopPFlag = Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens that together reach this share.")]
TokensFlag = Annotated[int, typer.Option("--max-new-tokens", help="The longest answer, in tokens.")]
BatchFlag = Annotated[int, typer.Option("--batch-size", help="Answers written at once: more is faster and takes more memory.")]
SeedFlag = Annotated[int, typer.Option("--seed", help="Of the sampling; every sample has a random stream of its own.")]

# Where a benchmark's worked examples come from: training problems, never its own.
_EXAMPLES = {
    "basics": ("basics", "train"), "basics-known": ("basics", "train"), "basics-unseen": ("basics", "train"),
    "basics-validation": ("basics", "train"), "mbpp": ("mbpp", "examples"), "conala": ("conala", "train"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answerer:
    """An open model, what it was asked to be, and the prompt style that it was trained with, if known."""

    loaded: LoadedModel
    adapted: Adapted
    trained_style: str | None
    precision: str
    tuned: Path | None


def open_answerer(model: str, tuned: Path | None, precision: Precision) -> Answerer:
    """Loads the model. Raises UserError where it cannot be had."""
    loaded, adapted = open_model(model, tuned, precision)
    return Answerer(loaded, adapted, trained_prompt_style(tuned or Path(model)), precision, tuned)


def decoding_of(n: int, temperature: float, top_p: float, max_new_tokens: int, batch_size: int, seed: int) -> DecodingConfig:
    """The decoding flags, checked. Raises UserError naming every fault."""
    given = {"n": n, "temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "batch_size": batch_size, "seed": seed}
    decoding = validate(given, DecodingConfig, "decoding flags")
    if n > 1 and temperature == 0:
        raise UserError(f"--n {n} at temperature 0 would write the same answer {n} times: add --temperature 0.2 --top-p 0.95")
    return decoding


def load_benchmark(name: str, data: Path | None, limit: int | None) -> Benchmark:
    """The benchmark, cut to its first `limit` problems."""
    benchmark = benchmarks.load(name, data)
    return dataclasses.replace(benchmark, problems=benchmark.problems[:limit])


def choose_template(
    answerer: Answerer, problems: Sequence[Problem], asked: str | None, examples: Sequence[Problem], say: Console
) -> Template:
    """The asked style, else the one of the training, else `completion` where all problems are code to go on with. Says which."""
    continues = bool(problems) and all(problem.prompt and not problem.instruction for problem in problems)
    if asked:
        style, why = asked, "as asked"
    elif answerer.trained_style:
        style, why = answerer.trained_style, "as in the training"
    else:
        style, why = ("completion", "the problems are code to go on with") if continues else ("instruction", "the default")
    template = answerer.loaded.template(style, examples)
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
    """The answers to all problems, with a bar on the terminal. Finished batches are found again in `partial`, which the caller removes."""
    engine = OwnEngine(answerer.loaded, answerer.adapted)
    kept = KeptEngine(engine, partial, _settings(answerer, benchmark, template, decoding)) if partial else None
    if kept and kept.found:
        say.print(f"{len(kept.found)} answers are there already; going on from them")
    with progress_bar(say) as progress:
        bar = progress.add_task(f"answering {benchmark.name}", total=len(benchmark.problems) * decoding.n)
        answers = answer(kept or engine, benchmark, template, decoding, lambda done, _: progress.update(bar, completed=done))
    if kept:
        rate = answers.generation["tokens"] / kept.seconds if kept.seconds else 0.0
        answers.generation.update(seconds=kept.seconds, tokens_per_s=rate)
    answers.generation["precision"] = answerer.precision
    return answers


def _settings(answerer: Answerer, benchmark: Benchmark, template: Template, decoding: DecodingConfig) -> Json:
    """All that an answer depends on."""
    return {
        "model": model_hash(answerer.adapted.root), "benchmark": benchmark.sha256, "prompt_style": template.style,
        "few_shot": len(template.examples), "precision": answerer.precision, **decoding.model_dump(mode="json"),
    }  # fmt: skip
