"""`codetune evaluate`: generate and score in one go, on one benchmark or several.

    codetune evaluate --model codetune-base --benchmark basics-known --benchmark basics-unseen
    codetune evaluate --model codetune-base --adapter runs/train-lora --benchmark basics-known --out runs/train-lora/scores --json
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.cli import answering as flags
from codetune.cli.answering import (
    Answerer,
    choose_template,
    decoding_of,
    load_benchmark,
    open_answerer,
    progress_bar,
    sample_rows,
    worked_examples,
    write_answers,
)
from codetune.config import DecodingConfig
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError, nearest
from codetune.evaluate import Answers, score_samples
from codetune.prompts.template import Template
from codetune.records import Json, to_json
from codetune.runs import write_json, write_rows
from codetune.sandbox import Sandbox

app = typer.Typer(add_completion=False)
ENGINES = ("own", "vllm", "openai")


@app.command()
def evaluate(
    model: flags.ModelFlag,
    benchmark: Annotated[list[str], typer.Option(help="A benchmark's name, or a JSONL file of your own problems; may be repeated.")],
    adapter: flags.AdapterFlag = None,
    out: Annotated[Path | None, typer.Option(help="A folder for samples, scores and result.json; a stopped run then goes on.")] = None,
    engine: Annotated[str, typer.Option(help="What writes the answers: own. vllm and openai are not there yet.")] = "own",
    base_url: Annotated[str | None, typer.Option("--base-url", help="The server of --engine openai.")] = None,
    n: flags.SamplesFlag = 1,
    temperature: flags.TemperatureFlag = 0.0,
    top_p: flags.TopPFlag = 1.0,
    max_new_tokens: flags.TokensFlag = 256,
    batch_size: flags.BatchFlag = 32,
    seed: flags.SeedFlag = 0,
    prompt_style: flags.StyleFlag = None,
    few_shot: flags.FewShotFlag = 0,
    data: flags.DataFlag = None,
    limit: flags.LimitFlag = None,
    precision: flags.PrecisionFlag = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: `benchmarks`, by name; of one alone its keys too.")] = False,
) -> None:
    """Answer benchmarks and score the answers: tests in the sandbox, text metrics against the references."""
    _require_own(engine, base_url)
    decoding = decoding_of(n, temperature, top_p, max_new_tokens, batch_size, seed)
    if data is not None and len(benchmark) > 1:
        raise UserError(f"--data {data} goes with one benchmark, got {len(benchmark)}: give one, or set CODETUNE_DATA to a folder for all")
    asked = [(load_benchmark(name, data, limit), worked_examples(name, few_shot, data)) for name in benchmark]
    narration = Console(stderr=True, highlight=False, markup=False)
    answerer = open_answerer(model, adapter, precision)
    results: dict[str, Json] = {}
    for problems, examples in asked:
        template = choose_template(answerer, problems.problems, prompt_style, examples, narration)
        results[problems.name] = _evaluate(answerer, problems, template, decoding, out, narration)
    whole = {"model": model, "adapter": str(adapter) if adapter else None, "model_hash": answerer.loaded.model_hash, "benchmarks": results}
    if out is not None:
        write_json(out / "result.json", whole)
        for path in out.glob("samples-*.jsonl.partial"):
            path.unlink()
    if as_json:
        alone = next(iter(results.values())) if len(results) == 1 else {}
        print(json.dumps(alone | whole))
    else:
        _show(results)


def _require_own(engine: str, base_url: str | None) -> None:
    if engine not in ENGINES:
        raise UserError(f"no engine {engine!r}: {nearest(engine, ENGINES)}")
    if engine != "own":
        raise UserError(f"--engine {engine} is not there yet: leave it out for codetune's own engine")
    if base_url is not None:
        raise UserError(f"--base-url {base_url} goes with --engine openai, which is not there yet: leave it out")


def _evaluate(
    answerer: Answerer, benchmark: Benchmark, template: Template, decoding: DecodingConfig, out: Path | None, narration: Console
) -> Json:
    """One benchmark's scores and how its answers were written; the samples, each with its score, are kept in `out`."""
    partial = out / f"samples-{benchmark.name}.jsonl.partial" if out else None
    answers, _ = write_answers(answerer, benchmark, template, decoding, partial, narration)
    if out is not None:
        write_rows(out / f"samples-{benchmark.name}.jsonl", sample_rows(answers))
    return _score(benchmark, answers, out, narration)


def _score(benchmark: Benchmark, answers: Answers, out: Path | None, narration: Console) -> Json:
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox()) if benchmark.kind == "execution" else None
        progress = stack.enter_context(progress_bar(narration))
        bar = progress.add_task(f"running {benchmark.name}", total=len(answers.samples), visible=sandbox is not None)
        scores = score_samples(benchmark, answers.samples, sandbox, on_result=lambda count: progress.advance(bar, count))
    for notice in scores.notices:
        narration.print(f"note: {notice}", soft_wrap=True)
    if out is not None:
        write_rows(out / f"scores-{benchmark.name}.jsonl", map(to_json, scores.samples))
    return scores.summary() | {"generation": answers.generation}


def _show(results: dict[str, Json]) -> None:
    """A table per benchmark: each score with its interval, then what became of the programs."""
    console = Console(highlight=False, soft_wrap=True)
    for name, found in results.items():
        console.print(f"[bold]{escape(name)}[/bold]: {found['num_problems']} problems, {found['num_samples']} samples")
        table = Table(box=None, show_header=False, padding=(0, 2))
        for k, share in found["pass_at_k"].items():
            low, high = found["pass_at_k_ci95"][k]
            table.add_row(f"pass@{k}", f"[bold]{100 * share:.1f}%[/bold]", f"[dim]95% interval {100 * low:.1f} to {100 * high:.1f}[/dim]")
        for metric, value in found["metrics"].items():
            table.add_row(metric, f"{100 * value:.1f}", "")
        if found["verdicts"]:
            table.add_row("verdicts", ", ".join(f"{count} {verdict}" for verdict, count in found["verdicts"].items()), "")
            table.add_row("sandbox", escape(found["sandbox_tier"]), "")
        written = found["generation"]
        table.add_row("written", f"{written['tokens']:,} tokens, {written['tokens_per_s']:,.0f} per second", "")
        console.print(table)
