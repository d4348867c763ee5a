"""`codetune recommend`: which method to start from for a model, data and a GPU, why, and what is not known.

    codetune recommend --model codetune-base --data basics
    codetune recommend --model codellama-7b --data conala --gpu 24GB
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from codetune.cli.output import to_stderr, to_stdout
from codetune.models.forecast import gpu_called, machine_here
from codetune.records import to_json
from codetune.study.grounds import Recommendation
from codetune.study.starting import Question, recommendation_for
from codetune.study.tables import format_bytes, format_seconds

app = typer.Typer(add_completion=False)
SHOWN_ALTERNATIVES = 5


@app.command()
def recommend(
    model: Annotated[str, typer.Option(help="A model as in a recipe: codetune-base, codellama-7b, a folder, a hub id.")],
    data: Annotated[str, typer.Option(help="A name of `codetune data list`, a file of your own, or a prepared folder.")],
    gpu: Annotated[str | None, typer.Option(help="For a GPU that is not here: its memory, as 24GB, or a name, as H100.")] = None,
    benchmark: Annotated[str, typer.Option(help="What counts in your own studies. Default: the first of each.")] = "",
    hours: Annotated[float | None, typer.Option(min=0.001, help="Training may take no longer.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Look at these methods alone; repeatable.")] = None,
    runs: Annotated[list[Path] | None, typer.Option(help="Where your own studies are. Default: runs.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recommend where to start, from the forecast, your own studies and published ones. Trains nothing. Exit code 1 if nothing fits."""
    question = Question(model, data, benchmark, hours, tuple(runs or [Path("runs")]), tuple(method or ()))
    found = ask(question, gpu)
    command = command_of(question, gpu)
    if as_json:
        print(json.dumps(to_json(found) | {"command": command if found.method else None}))
    else:
        show(found, command)
    if not found.method:
        raise typer.Exit(1)


def ask(question: Question, gpu: str | None) -> Recommendation:
    """The recommendation for a GPU by name or memory, or for this machine; says on a terminal what is being forecast."""
    machine = gpu_called(gpu) if gpu else machine_here()
    with to_stderr().status("looking at the data") as status:
        return recommendation_for(question, machine, lambda method: status.update(f"forecasting {method}"))


def command_of(question: Question, gpu: str | None, out: Path = Path("start.yaml")) -> str:
    """What to run: the recipe as a file, then the training."""
    words = ["codetune", "init", "--model", question.model, "--data", question.data]
    words += ["--gpu", gpu] if gpu else []
    words += ["--benchmark", question.benchmark] if question.benchmark else []
    words += ["--hours", f"{question.hours:g}"] if question.hours is not None else []
    words += [word for method in question.methods for word in ("--method", method)]
    words += [word for place in question.runs if place != Path("runs") for word in ("--runs", str(place))]
    return f"{shlex.join([*words, '--out', str(out)])} && codetune train {shlex.quote(str(out))}"


def show(found: Recommendation, command: str) -> None:
    """For a person, on stdout."""
    console = to_stdout()
    named = f"for {found.model} on {found.data}, {found.machine}"
    console.print(f"[bold]{escape(found.method)}[/bold] {escape(named)} ({found.by})" if found.method else f"nothing {escape(named)}")
    for line in lines_of(found):
        console.print(line, markup=False)
    if found.method:
        console.print(f"\n{command}", markup=False)


def lines_of(found: Recommendation) -> Iterator[str]:
    """Reasons, alternatives, what was ruled out and what is not known, a line each."""
    yield from _list("why", [f"{reason.text} [{reason.source}]" for reason in found.reasons])
    others = [_choice(each.method, each.peak_bytes, each.seconds, each.settings) for each in found.alternatives[:SHOWN_ALTERNATIVES]]
    if more := len(found.alternatives) - len(others):
        others.append(f"and {more} more")
    yield from _list("would fit, too", others)
    yield from _list("ruled out", [f"{each.what}: {each.why}" for each in found.ruled_out])
    yield from _list("not known", found.unknown)


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"{title}:"
        yield from (f"  - {line}" for line in lines)


def _choice(method: str, peak_bytes: int | None, seconds: float | None, settings: object) -> str:
    time = "" if seconds is None else f", {format_seconds(seconds)}"
    told = f" with {', '.join(f'{key} {value}' for key, value in settings.items())}" if isinstance(settings, dict) and settings else ""
    return f"{method}: {format_bytes(peak_bytes)}{time}{told}"
