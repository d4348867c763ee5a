"""Tuning with all that a recipe asks for beside the training itself: settings searched for before it, answers written during it.

    summary = finetune(load_recipe(path, TrainRecipe), Path("runs/mine"))
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from codetune.config import SamplesConfig, TrainRecipe
from codetune.data.benchmarks import Benchmark
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.catalogue import TEST_SETS
from codetune.errors import UserError
from codetune.evaluate import Answers, Scores, answer, score_samples
from codetune.generate.engine import OwnEngine
from codetune.generate.request import Engine
from codetune.methods import Adapted
from codetune.models.load import LoadedModel
from codetune.prompts.template import Template
from codetune.records import Json
from codetune.score.execution import Checker
from codetune.score.text import syntax_valid
from codetune.score.verdicts import open_checker
from codetune.train.finetune import RESULT, SamplerOf, require_monitored
from codetune.train.finetune import finetune as train_only
from codetune.train.parallel import ALONE, Group
from codetune.train.resume import Progress
from codetune.train.run import Reading, Sampler
from codetune.train.search import Told, search
from codetune.train.trackers import require_trackers

SHOWN = 5  # answers of each reading that are kept to be read


def finetune(
    recipe: TrainRecipe,
    folder: Path,
    report: Callable[[Progress, int], None] | None = None,
    warn: Callable[[str], None] = warnings.warn,
    told: Told | None = None,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Search for settings where the recipe asks for it, then train, with its samples; a run that is done is found and not repeated.

    `report` is told of the run's steps, `warn` what a user should know besides, `told` of the search. See
    `codetune.train.finetune.finetune` for what comes back; after a search it has `search`: the best settings, which the run was trained
    with, and the default ones.
    """
    if (folder / RESULT).exists() and recipe.search is None:  # found, not trained again: no sandbox is needed
        return train_only(recipe, folder, report, warn, group=group)
    if recipe.search is not None and group.size > 1:
        raise UserError("`search` runs in one process: search without --nproc or torchrun, and train the found recipe with it")
    require_monitored(recipe, recipe.samples is not None)
    require_trackers(recipe.trackers)
    with open_sampler(recipe) as sampler_of:
        if recipe.search is None:
            return train_only(recipe, folder, report, warn, sampler_of, group=group)
        found = search(recipe, folder, told or Told(warn=warn), sampler_of)
        return train_only(found.recipe, folder, report, warn, sampler_of, {"search": found.summary()})


@contextlib.contextmanager
def open_sampler(recipe: TrainRecipe) -> Iterator[SamplerOf | None]:
    """What has a model in training answer the problems of `samples` and runs them, in one sandbox for the whole run; None without.

    Raises UserError for a benchmark that is not there or has no tests, and where this machine has no sandbox, before anything is trained.
    """
    config = recipe.samples
    if config is None:
        yield None
        return
    benchmark = _benchmark(config)
    with open_checker() as checker:

        def sampler_of(loaded: LoadedModel) -> Sampler:
            template = loaded.template(recipe.data.prompt_style)

            def read(adapted: Adapted) -> Reading:
                return reading(OwnEngine(loaded, adapted), benchmark, template, config, checker)

            return Sampler(config.times, read)

        yield sampler_of


def reading(engine: Engine, benchmark: Benchmark, template: Template, config: SamplesConfig, checker: Checker) -> Reading:
    """Have the problems answered and the answers run. The pass rate is pass@1: the share of samples that pass, by problem."""
    answers = answer(engine, benchmark, template, config.decoding)
    scores = score_samples(benchmark, answers.samples, checker, ks=(1,), metrics=())
    count = max(1, len(answers.samples))
    return Reading(
        pass_rate=scores.pass_at_k["1"],
        eos_share=sum(sample.finish == "eos" for sample in answers.samples) / count,
        syntax_valid=sum(syntax_valid(score.program) for score in scores.samples) / count,
        mean_tokens=sum(sample.num_tokens for sample in answers.samples) / count,
        rows=_rows(answers, scores),
    )


def caution(recipe: TrainRecipe) -> str:
    """A line for whoever samples on problems that are there to test with; empty where there is nothing to say."""
    name = recipe.samples.benchmark if recipe.samples else ""
    against = () if recipe.decontaminate is None or recipe.decontaminate.against == "auto" else recipe.decontaminate.against
    if name not in (*TEST_SETS, *against, "basics", "mbpp-all", "humanevalplus", "mbppplus"):
        return ""
    return f"samples.benchmark {name} is a test set: what is chosen by it is flattered by its score; take basics-validation or your own"


def _benchmark(config: SamplesConfig) -> Benchmark:
    benchmark = load_benchmark(config.benchmark)
    if benchmark.kind != "execution":
        raise UserError(f"samples.benchmark {config.benchmark!r} has no tests to pass: give one that has, as basics-validation")
    return dataclasses.replace(benchmark, problems=benchmark.problems[: config.max_problems])


def _rows(answers: Answers, scores: Scores) -> list[Json]:
    """The first few answers with what became of them."""
    shown = zip(answers.samples[:SHOWN], scores.samples, strict=False)
    return [
        {
            "task_id": sample.task_id,
            "completion": (sample.completion if sample.completion is not None else sample.solution) or "",
            "verdict": score.result.verdict.value if score.result else "",
            "detail": score.result.detail if score.result else "",
            "finish": sample.finish,
        }
        for sample, score in shown
    ]
