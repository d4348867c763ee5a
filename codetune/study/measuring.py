"""Measures a cell's model in the cell's own process, once it has answered the study's benchmarks: the measures of docs/measures.md.

Merging comes last, since the model that answers is merged in its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codetune.config import TrainRecipe
from codetune.data.benchmarks import Benchmark
from codetune.data.benchmarks import load as load_benchmark
from codetune.data.tokenise import TokenisedExamples, collect
from codetune.data.training import Maker, documents_of, training_data
from codetune.evaluate import Answers, Scores, answer, request, score_samples
from codetune.generate.engine import OwnEngine
from codetune.generate.latency import Latency, measure_latency
from codetune.models.forecast import largest, measure_rate, training_operations
from codetune.models.load import LoadedModel
from codetune.models.machine import peak_memory_bytes
from codetune.models.merge import merge_in_place
from codetune.models.outline import load_outline, outline_of, settled
from codetune.prompts.rephrase import Reworded, rephrased
from codetune.prompts.template import Template
from codetune.records import Document, Json, Problem, SampleScore, Verdict, to_json
from codetune.runs import read_rows, write_rows
from codetune.score.execution import Checker
from codetune.study.forecasting import training_passes
from codetune.study.measures import CellMeasures, time_to_quality
from codetune.study.plan import CellConfig, limited
from codetune.train.fitting import longest_batches
from codetune.train.held_out import bits_per_byte, mean_loss
from codetune.train.material import prepare
from codetune.train.memory import forecast_memory
from codetune.train.precision import on_this_machine
from codetune.train.run import METRICS, Material

LATENCY_PROMPTS, LATENCY_TOKENS = 8, 32
_FORECAST = ("process", "kernels", "weights", "gradients", "optimiser", "activations", "logits", "temporary", "generation")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model wrote for a benchmark, what that is worth, and how long both took."""

    benchmark: Benchmark
    answers: Answers
    scores: Scores
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A cell's model as it answers, what it answered the study's benchmarks, and what its training said of itself (None: it had none)."""

    cell: CellConfig
    loaded: LoadedModel
    engine: OwnEngine
    template: Template
    sandbox: Checker
    answered: Mapping[str, Answered]  # by the benchmark's name
    summary: Json | None
    say: Callable[[str, int, int], None] = lambda stage, done, total: None


def measure(subject: Subject) -> CellMeasures:
    """All that the recipe's `measures` asks for; None or empty is what could not be measured."""
    asked, cell = subject.cell.measures, subject.cell
    found = _spent(subject) | {"memory_peak_bytes": _peaks(subject)}
    if asked.held_out:
        found |= _held_out(subject)
    could = [limited(load_benchmark(name), cell.max_problems) for name in asked.forgetting]
    found["forgetting"] = {benchmark.name: _kept(subject, benchmark) for benchmark in could}
    if asked.rephrased:
        found["rephrased"] = _rephrased(subject, asked.rephrased)
    if cell.train is not None and subject.summary is not None:
        recipe = on_this_machine(cell.train)
        shape = load_outline(recipe)
        material = prepare(recipe, shape)
        if asked.memory:
            found["memory_forecast_bytes"] = _forecast(cell, recipe, shape, material)
        if asked.matrix_rate:
            found |= _matrix_rate(recipe, shape, material, subject.summary)
        if reached := time_to_quality(read_rows(cell.folder / METRICS)):
            found |= {"time_to_quality_s": reached.seconds, "time_to_quality_tokens": reached.tokens}
    if asked.latency:
        found |= _latency(subject)
    return CellMeasures(**found)


def _spent(subject: Subject) -> dict[str, Any]:
    """Seconds and joules of what is done already."""
    generations, summary = [each.answers.generation for each in subject.answered.values()], subject.summary or {}
    used = [each.get("energy_j") for each in generations]
    return {
        "evaluation_s": sum(each.seconds for each in subject.answered.values()),
        "training_energy_j": summary.get("energy_j"),
        "generation_energy_j": None if None in used else sum(used),
        "energy_source": next((each["energy_source"] for each in (summary, *generations) if each.get("energy_source")), ""),
    }  # fmt: skip


def _peaks(subject: Subject) -> dict[str, int]:
    """Measured: of training, loading and reloading included, and from its end to here, which is answering."""
    trained = {} if subject.summary is None else {"training": int(subject.summary["peak_memory_bytes"])}
    return trained | {"generation": peak_memory_bytes()}


def _held_out(subject: Subject) -> dict[str, Any]:
    """The loss on the validation data, as the row's own prompt shows it."""
    shards = training_data(subject.cell.data, subject.cell.decontaminate).validation
    documents = [document for shard in shards for document in documents_of(shard)]
    if not (examples := _examples(subject, documents)):
        return {}
    loss = mean_loss(subject.engine.adapted, subject.loaded.family, examples)
    per_byte = bits_per_byte(loss, examples, subject.loaded.tokenizer)
    return {"held_out_loss": loss, "held_out_bits_per_byte": per_byte, "held_out_examples": len(examples)}


def _examples(subject: Subject, documents: Sequence[Document]) -> TokenisedExamples | None:
    """Those that fit the model's positions, with virtual tokens and marks; None where none does."""
    family, tokenizer = subject.loaded.family, subject.loaded.tokenizer
    room = family.max_positions - subject.engine.adapted.num_virtual_tokens - len(family.marks)
    asked = tuple(each for each in documents if each.kind != "code" or not family.encoder_decoder)  # an encoder must have something to read
    made = collect(Maker(subject.template, tokenizer, room, subject.cell.data.loss_on)(asked), room)
    return made if len(made) else None


def _kept(subject: Subject, benchmark: Benchmark) -> dict[str, float]:
    """What the row can do of what the base could: loss of the references, where all have one, and score."""
    done = subject.answered.get(benchmark.name) or _ask(subject, benchmark, subject.template, f"forgetting-{benchmark.name}")
    found: dict[str, float] = {"problems": done.scores.num_problems}
    if (score := score_of(done.scores)) is not None:
        found["score"] = score
    documents = [Document.of(problem) for problem in benchmark.problems if problem.reference]
    if examples := _examples(subject, documents):
        loss = mean_loss(subject.engine.adapted, subject.loaded.family, examples)
        found |= {"loss": loss, "bits_per_byte": bits_per_byte(loss, examples, subject.loaded.tokenizer)}
    return found


def _rephrased(subject: Subject, count: int) -> dict[str, dict[str, float]]:
    """Of each benchmark its first problems, their wishes in other words; and as they are, in a template of other words."""
    found = {}
    reworded = Reworded.of(subject.template)
    for name, before in subject.answered.items():
        problems = before.benchmark.problems[:count]
        anew = [other for problem in problems if (other := rephrased(problem)) is not None]
        if anew:
            found[f"{name}:instruction"] = _asked_again(subject, before, anew, subject.template, "instruction")
        if reworded is not None:
            found[f"{name}:template"] = _asked_again(subject, before, problems, reworded, "template")
    return found


def _asked_again(subject: Subject, before: Answered, problems: Sequence[Problem], template: Template, what: str) -> dict[str, float]:
    """Scores of the same problems in other words and in the first ones, and the share of answers whose verdict is another."""
    wanted = {problem.task_id for problem in problems}
    benchmark = dataclasses.replace(before.benchmark, problems=tuple(problems))
    first = dataclasses.replace(benchmark, problems=tuple(each for each in before.benchmark.problems if each.task_id in wanted))
    samples = [sample for sample in before.answers.samples if sample.task_id in wanted]
    original = score_samples(first, samples, subject.sandbox, ks=(1,), metrics=_metrics(first))
    again = _ask(subject, benchmark, template, f"rephrased-{what}-{benchmark.name}").scores
    found = {"problems": float(len(problems))}
    for name, value in (("score", score_of(again)), ("original_score", score_of(original))):
        if value is not None:
            found[name] = value
    if (changed := changed_share(original.samples, again.samples)) is not None:
        found["changed_share"] = changed
    return found


def _ask(subject: Subject, benchmark: Benchmark, template: Template, kept_as: str) -> Answered:
    """Answers as the study decodes, kept beside the cell's others."""
    stage = f"answering {kept_as}"
    answers = answer(subject.engine, benchmark, template, subject.cell.decoding, lambda done, total: subject.say(stage, done, total))
    scores = score_samples(benchmark, answers.samples, subject.sandbox, ks=(1,), metrics=_metrics(benchmark))
    write_rows(subject.cell.folder / f"samples-{kept_as}.jsonl", answers.rows())
    write_rows(subject.cell.folder / f"scores-{kept_as}.jsonl", map(to_json, scores.samples))
    return Answered(benchmark, answers, scores)


def _metrics(benchmark: Benchmark) -> Sequence[str]:
    return ("bleu",) if benchmark.kind == "text" else ()


def score_of(scores: Scores) -> float | None:
    """pass@1; where nothing is tested, the share that loads; where nothing is run, BLEU."""
    loads: float | None = scores.loads.get("loads")
    return scores.pass_at_k.get("1", scores.metrics.get("bleu") if loads is None else loads)


def changed_share(before: Sequence[SampleScore], after: Sequence[SampleScore]) -> float | None:
    """The share of answers that passed in one and not in the other, paired by problem and sample; None where nothing is run."""
    passed = {(one.task_id, one.index): one.result.verdict is Verdict.PASSED for one in before if one.result}
    pairs = [
        passed[one.task_id, one.index] != (one.result.verdict is Verdict.PASSED)
        for one in after
        if one.result and (one.task_id, one.index) in passed
    ]
    return sum(pairs) / len(pairs) if pairs else None


def _forecast(cell: CellConfig, recipe: TrainRecipe, shape: LoadedModel, material: Material) -> dict[str, int]:
    """Of the training's peak and of answering's, by what they are for: a forecast, not a measurement."""
    passes = training_passes(material, recipe)
    batches, gpu = longest_batches(material, recipe.train), recipe.device == "cuda"
    method = settled(recipe.method, outline_of(shape.model))
    forecast = forecast_memory(shape.model.config, method, recipe.train, batches, passes, gpu, cell.decoding)
    return {part: getattr(forecast, part) for part in _FORECAST}


def _matrix_rate(recipe: TrainRecipe, shape: LoadedModel, material: Material, summary: Json) -> dict[str, float]:
    """Operations of the steps that were made, per token, and their rate over that of plain products of the model's shape, measured now."""
    outline = outline_of(shape.model)
    passes = training_passes(dataclasses.replace(material, steps=material.steps[: summary["steps"]]), recipe)
    operations, big = training_operations(outline, settled(recipe.method, outline), recipe.train, passes), largest(passes)
    rate = measure_rate(outline, recipe.train, big.rows * big.width, recipe.device)
    reached = operations / summary["seconds"]
    return {
        "operations_per_token": operations / summary["tokens"], "matrix_operations_per_s": rate, "matrix_rate_share": reached / rate
    }  # fmt: skip


def _latency(subject: Subject) -> dict[str, Any]:
    """With the adapter, then merged where the method merges; from here on the model is the merged one."""
    benchmark = next(iter(subject.answered.values())).benchmark
    requests = [request(subject.template, problem) for problem in benchmark.problems[:LATENCY_PROMPTS]]
    found = _named("latency", measure_latency(subject.engine, requests, LATENCY_TOKENS))
    adapted = subject.engine.adapted
    if found and adapted.merges:
        merge_in_place(adapted)
        merged = _named("merged_latency", measure_latency(subject.engine, requests, LATENCY_TOKENS))
        found |= {name: value for name, value in merged.items() if name not in ("merged_latency_prompts", "merged_latency_tokens")}
    return found


def _named(lead: str, latency: Latency | None) -> dict[str, Any]:
    return {} if latency is None else {f"{lead}_{name}": value for name, value in dataclasses.asdict(latency).items()}
