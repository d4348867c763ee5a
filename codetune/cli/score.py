"""`codetune score`: what the samples in a JSONL file are worth on a benchmark.

    codetune score samples.jsonl --benchmark humaneval
    codetune score samples.jsonl --benchmark my-problems.jsonl --k 1,10 --json
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.cli.output import progress_bar
from codetune.cli.running import SandboxFlags, takes_flags
from codetune.data import benchmarks
from codetune.data.samples import read_samples
from codetune.errors import UserError
from codetune.imports import without_collecting
from codetune.records import to_json

if TYPE_CHECKING:
    from codetune.compare import Comparison
    from codetune.data.benchmarks import Benchmark
    from codetune.evaluate import Scores
    from codetune.records import Sample

PASS_AT_K = "pass_at_k"  # of `--metrics`, alone: nothing but what the tests say
app = typer.Typer(add_completion=False)


@app.command()
@takes_flags
def score(
    samples: Annotated[Path, typer.Argument(help="JSONL with 'task_id' and 'completion' or 'solution' per line.")],
    benchmark: Annotated[str, typer.Option(help="A benchmark's name, or a JSONL file or folder of your own problems.")],
    data: Annotated[Path | None, typer.Option(help="A local copy of the named benchmark's file.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Metrics to compute, as in 'bleu,lint,complexity'; 'pass_at_k' for none. Default: all text metrics.")
    ] = "",
    k: Annotated[str, typer.Option(help="For pass@k, as in '1,10'. Default: 1, 10 and 100 as far as there are samples.")] = "",
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="Score the problems that have samples.")] = False,
    against: Annotated[Path | None, typer.Option(help="Other samples of the benchmark: is this file better, how sure?")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write each sample's verdict and metrics to this JSONL file.")] = None,
    *,
    running: SandboxFlags,
) -> None:
    """Score the samples in a JSONL file: tests in the sandbox, text metrics against the references."""
    problems = benchmarks.load(benchmark, data)
    files = [samples] if against is None else [samples, against]
    answers = [read_samples(file, problems) for file in files]
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
    narration = Console(stderr=True, highlight=False)
    with ExitStack() as stack:
        sandbox = stack.enter_context(running.open(lambda: _load(metrics != PASS_AT_K))) if problems.executes else None
        from codetune.evaluate import score_samples  # not above, for it is loaded while the sandbox starts

        progress = stack.enter_context(progress_bar(narration))
        bar = progress.add_task("programs run", total=sum(map(len, answers)), visible=sandbox is not None)
        scored = [
            score_samples(
                problems,
                each,
                sandbox,
                ks=_parse_ks(k),
                metrics=[name.strip() for name in metrics.split(",")] if metrics else None,
                allow_missing=allow_missing,
                on_result=lambda count: progress.advance(bar, count),
            )
            for each in answers
        ]
    scores = scored[0]
    comparison = _compared(problems, scored, answers) if against else None
    for notice in dict.fromkeys(notice for each in scored for notice in each.notices):
        narration.print(f"note: {escape(notice)}", soft_wrap=True)
    if out is not None:
        out.write_text("".join(json.dumps(to_json(each)) + "\n" for each in scores.samples), encoding="utf-8")
    if as_json:
        print(json.dumps(scores.summary() | ({"against": comparison.summary()} if comparison else {})))
        return
    _show(scores)
    if comparison:
        _show_comparison(comparison)


def _load(text_metrics: bool) -> None:
    """What scores are computed by, of which nothing is needed before the sandbox stands."""
    with without_collecting():
        import codetune.evaluate  # noqa: F401
        from codetune.score import sacre

        if text_metrics:
            sacre.signature("chrf")


def _compared(problems: Benchmark, scored: list[Scores], answers: list[list[Sample]]) -> Comparison:
    from codetune.compare import compare

    return compare(problems, *zip(scored, answers, strict=True))


def _parse_ks(text: str) -> list[int] | None:
    if not text:
        return None
    try:
        ks = [int(part) for part in text.split(",")]
    except ValueError:
        ks = [0]
    if min(ks) < 1:
        raise UserError(f"--k {text!r} is not a list of whole numbers from 1 up; give it as in --k 1,10")
    return sorted(set(ks))


def _show(scores: Scores) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(scores.benchmark)}[/bold]: {scores.num_problems} problems, {scores.num_samples} samples")
    table = Table(box=None, show_header=False, padding=(0, 2))
    from codetune.cli.scores import score_rows

    for cells in score_rows(scores.summary()):
        table.add_row(*cells)
    console.print(table)
    if scores.verdicts:
        console.print("verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in scores.verdicts.items()))
        console.print(f"sandbox: {scores.sandbox_tier}", markup=False)


def _show_comparison(found: Comparison) -> None:
    gap = found.difference
    better = "better" if gap.low > 0 else "worse" if gap.high < 0 else "not told apart"
    print(
        f"against the other file, {found.metric} on {found.num_problems} problems: {100 * gap.value:+.1f} points, "
        f"95% interval {100 * gap.low:+.1f} to {100 * gap.high:+.1f}; better on {gap.wins} problems, worse on {gap.losses}; "
        f"p = {gap.p_value:.3g} ({gap.method}): {better}"
    )
