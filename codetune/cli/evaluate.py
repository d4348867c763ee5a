"""`codetune evaluate`: generate and score in one go, on one benchmark or several.

    codetune evaluate --model codetune-base --benchmark basics-known basics-unseen
    codetune evaluate --model codetune-base --adapter runs/train-lora --benchmark basics-known --out runs/train-lora/scores --json
    codetune evaluate --engine openai --base-url http://localhost:11434/v1 --model qwen2.5-coder --benchmark mbpp
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.cli.answering import choose_template, load_benchmark, open_answerer, worked_examples, write_answers
from codetune.cli.flags import AnswerFlags
from codetune.cli.output import progress_bar, to_stderr, to_stdout
from codetune.cli.running import SandboxFlags, takes_flags
from codetune.cli.scores import score_rows
from codetune.data.benchmarks import Benchmark
from codetune.errors import UserError
from codetune.evaluate import Answers, score_samples
from codetune.records import Json, to_json
from codetune.runs import write_json, write_rows
from codetune.score.execution import Checker

app = typer.Typer(add_completion=False)


@app.command()
@takes_flags
def evaluate(
    benchmark: Annotated[list[str], typer.Option(help="A benchmark's name, or a JSONL file or folder of your own problems; repeatable.")],
    more: Annotated[list[str] | None, typer.Argument(help="More benchmarks, as in --benchmark humaneval mbpp.", show_default=False)] = None,
    *,
    flags: AnswerFlags,
    running: SandboxFlags,
    out: Annotated[Path | None, typer.Option(help="A folder for samples, scores and result.json; a stopped run then goes on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: scores by benchmark; of one alone its keys too.")] = False,
) -> None:
    """Answer benchmarks and score the answers: tests in the sandbox, text metrics against the references."""
    flags.require_consistent()
    decoding = flags.decoding()
    found = _benchmarks(list(dict.fromkeys([*benchmark, *(more or [])])), flags.data, flags.limit)
    asked = [(each, worked_examples(name, flags.few_shot, flags.data, flags.prompt_style)) for name, each in found.items()]
    say = to_stderr()
    results: dict[str, Json] = {}
    with ExitStack() as stack:
        executes = any(each.executes for each, _ in asked)
        sandbox = stack.enter_context(running.open()) if executes else None  # before hours of answering, not after
        answerer = open_answerer(flags)
        partials = []
        for each, examples in asked:
            template = choose_template(answerer, each.problems, flags.prompt_style, examples, say)
            partials.append(out / f"samples-{each.name}.jsonl.partial" if out else None)
            answers = write_answers(answerer, each, template, decoding, partials[-1], say)
            results[each.name] = _score(each, answers, sandbox, out, say)
    if out is not None:
        write_json(out / "result.json", answerer.identity | {"benchmarks": results})
        for partial in filter(None, partials):
            partial.unlink()
    if as_json:
        alone = next(iter(results.values())) if len(results) == 1 else {}
        print(json.dumps(alone | answerer.identity | {"benchmarks": results}))
    else:
        _show(results)


def _benchmarks(names: Sequence[str], data: Path | None, limit: int | None) -> dict[str, Benchmark]:
    """The benchmarks as they were asked for, all read before anything long begins."""
    if data is not None and len(names) > 1:
        raise UserError(f"--data {data} goes with one benchmark, got {len(names)}: give one, or set CODETUNE_DATA to a folder for all")
    found = {name: load_benchmark(name, data, limit) for name in names}
    labels = [each.name for each in found.values()]
    if len(set(labels)) < len(labels):
        raise UserError(f"two of the benchmarks {', '.join(names)} would both be called {labels[0]!r}: rename a file")
    return found


def _score(benchmark: Benchmark, answers: Answers, sandbox: Checker | None, out: Path | None, say: Console) -> Json:
    """Scores, and how the answers were written; the samples and what each is worth are kept in `out`."""
    if out is not None:
        write_rows(out / f"samples-{benchmark.name}.jsonl", answers.rows())
    with progress_bar(say) as progress:
        bar = progress.add_task(f"running {benchmark.name}", total=len(answers.samples), visible=benchmark.executes)
        scores = score_samples(benchmark, answers.samples, sandbox, on_result=lambda count: progress.advance(bar, count))
    for notice in scores.notices:
        say.print(f"note: {notice}")
    if out is not None:
        write_rows(out / f"scores-{benchmark.name}.jsonl", map(to_json, scores.samples))
    return scores.summary() | {"generation": answers.generation}


def _show(results: dict[str, Json]) -> None:
    """A table per benchmark: each score with its interval, then what became of the programs."""
    console = to_stdout()
    for name, found in results.items():
        console.print(f"[bold]{escape(name)}[/bold]: {found['num_problems']} problems, {found['num_samples']} samples")
        table = Table(box=None, show_header=False, padding=(0, 2))
        for cells in score_rows(found):
            table.add_row(*cells)
        if found["verdicts"]:
            table.add_row("verdicts", ", ".join(f"{count} {verdict}" for verdict, count in found["verdicts"].items()), "")
            table.add_row("sandbox", escape(found["sandbox_tier"]), "")
        written = found["generation"]
        counted = f"{written['tokens']:,} tokens, {written['tokens_per_s']:,.0f} per second" if written["tokens"] else "no tokens counted"
        table.add_row("written", counted, "")
        console.print(table)
