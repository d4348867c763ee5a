"""`codetune study`: run a recipe's whole grid, see how far it is, write its report.

    codetune study run recipes/quickstart.yaml
    codetune study status runs/quickstart
    codetune study report runs/quickstart --compare runs/another
    codetune study judge runs/quickstart --rows full,lora --benchmark basics-known
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from codetune.config import StudyRecipe, load_recipe, recipe_path
from codetune.errors import UserError, nearest
from codetune.study.cells import Cell, read_study
from codetune.study.drive import DONE, CellProgress, run_study
from codetune.study.gates import is_valid
from codetune.study.judge import Choice, write_sheet
from codetune.study.ray_engine import RayEngine
from codetune.study.side_by_side import write_comparison
from codetune.study.stand_ins import tiny as cut_to_trial
from codetune.study.votes import add_votes, preference_sentences

if TYPE_CHECKING:
    from codetune.study.report import Report

app = typer.Typer(add_completion=False, no_args_is_help=True)
ENGINES = ("local", "ray")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A study recipe (YAML), or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set seeds=3.")] = None,
    out: Annotated[Path | None, typer.Option(help="The study's folder. Default: runs/<name>.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A trial of minutes, offline; random models for absent ones.")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: on a Ray cluster, each cell where its forecast memory fits.")] = "local",
    address: Annotated[str | None, typer.Option(help="The Ray cluster, as auto or ray://head:10001. Default: this machine.")] = None,
) -> None:
    """Run all cells of a study that are not done yet, then write the report."""
    if engine not in ENGINES:
        raise UserError(f"--engine {engine}: {nearest(engine, ENGINES)}")
    if address and engine != "ray":
        raise UserError(f"--address {address} is of a Ray cluster: add --engine ray")
    loaded = load_recipe(recipe_path(recipe), StudyRecipe, overrides or [])
    if out is not None or tiny:
        loaded = loaded.model_copy(update={"out": out or Path("runs") / f"{loaded.name}-tiny"})
    conclude(run_with_progress(cut_to_trial(loaded) if tiny else loaded, engine, address))


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="The folder that `study run` wrote.")]) -> None:
    """Which cells are done, what is wrong with those that are not right, and how far the others are."""
    study = read_study(folder)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for cell in study.cells:
        state = "[green]done[/green]" if is_valid(cell.gates) else "[red]invalid[/red]"
        table.add_row(state, escape(cell.row), escape(cell.data), f"seed {cell.seed}", escape(_wrong_with(cell)))
    for cell_left in study.unfinished:
        table.add_row("[yellow]open[/yellow]", escape(cell_left.label), escape(cell_left.state), "")
    Console(highlight=False, soft_wrap=True).print(table)


def _wrong_with(cell: Cell) -> str:
    """What is wrong with a finished cell in a line: its invalid gates, then what its evidence points to first, and what to do."""
    said = [gate.message for gate in cell.gates if gate.level == "invalid"]
    said += [f"{found.title} ({found.grade}): {found.evidence}; {found.remedy}" for found in cell.diagnosis[:1]]
    return "; ".join(said)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `study run` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all cells.")] = False,
    compare: Annotated[Path | None, typer.Option(help="Another study's folder: write compare.html with both side by side.")] = None,
) -> None:
    """Write report.html, report.md, numbers.csv, numbers.parquet and plots/ anew from what is in the folder."""
    if as_json and compare:
        raise UserError("--json and --compare do not go together: compare.html is the comparison; numbers.csv has each study's numbers")
    from codetune.study.report import report_json, write_report  # not above: with it comes what draws

    if compare:
        path, summary = write_comparison(folder, compare)
        print(summary)
        print(f"side by side: {path}")
    elif as_json:
        print(json.dumps(report_json(folder)))
    else:
        conclude(write_report(folder))


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="The folder that `study run` wrote.")],
    rows: Annotated[str, typer.Option(help="The two rows to compare, as full,lora.")],
    benchmark: Annotated[str, typer.Option(help="The benchmark whose completions are judged.")],
    problems: Annotated[int, typer.Option(min=1, help="How many problems.")] = 40,
    seed: Annotated[int, typer.Option(help="Draws the problems, the samples and which row stands left.")] = 0,
    out: Annotated[Path, typer.Option(help="The page; its key is written beside it.")] = Path("sheet.html"),
    model: Annotated[str, typer.Option(help="Which model, where the study has several.")] = "",
    data: Annotated[str, typer.Option(help="Which training data, where the study has several.")] = "",
) -> None:
    """Write a blind sheet: pairs of two rows' completions, for a person to vote on correctness and readability, offline."""
    names = [name.strip() for name in rows.split(",")]
    if len(names) != 2 or not all(names):
        raise UserError(f"--rows {rows}: give two rows with a comma between, as --rows full,lora")
    sheet = write_sheet(folder, Choice((names[0], names[1]), benchmark, problems, seed, model, data), out)
    print(f"sheet: {sheet.page} ({sheet.asked} pairs to judge, {sheet.identical} more are the same text and count as same)")
    print(f"key: {sheet.key} (says which row is which: not for those who judge)")
    print(f"votes come back with: codetune study votes {folder} votes.json")


@app.command()
def votes(
    folder: Annotated[Path, typer.Argument(help="The folder that the sheet was made from.")],
    files: Annotated[list[Path], typer.Argument(help="What the sheet's button exported, one file for each judge.")],
) -> None:
    """Read votes back: who is preferred, how sure that is; kept in the study's folder and shown in its report."""
    for judgement in add_votes(folder, files):
        print(f"{judgement.title}, {judgement.model} on {judgement.data}: {', '.join(judgement.judges)}")
        for sentence in preference_sentences(judgement):
            print(f"  {sentence}")
    print(f"in the report with: codetune study report {folder}")


def run_with_progress(recipe: StudyRecipe, engine: str = "local", address: str | None = None) -> Report:
    """The study, with a bar for its cells and one for the present stage on a terminal, plain lines elsewhere."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        told = _bars(progress) if console.is_terminal else _lines(console)
        return run_study(recipe, told, RayEngine(recipe, told, address) if engine == "ray" else None)


def conclude(written: Report) -> None:
    """The headline and where the report is, on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    for headline in written.headlines:
        console.print(escape(headline))
    for unfinished in written.unfinished:
        console.print(f"[yellow]not finished:[/yellow] {escape(unfinished.label)}: {escape(unfinished.state)}")
    for note in written.notes:
        console.print(note, markup=False)
    console.print(f"report: {written.html}", markup=False)


def _bars(progress: Progress) -> Callable[[CellProgress], None]:
    """A bar for all cells, and one for each cell that is running, for its present stage."""
    cells = progress.add_task("cells", total=None, note="")
    bars: dict[int, TaskID] = {}
    stages: dict[int, str] = {}

    def report(state: CellProgress) -> None:
        progress.update(cells, total=state.cells)
        if state.stage == DONE:
            progress.remove_task(bars.pop(state.number))
            progress.advance(cells)
            return
        if state.number not in bars:
            bars[state.number] = progress.add_task("", total=None, note="")
        bar = bars[state.number]
        if stages.get(state.number) != state.stage:
            stages[state.number] = state.stage
            progress.reset(bar)
        label = f"{state.cell.row}: {state.stage}"
        progress.update(bar, description=label, completed=state.done, total=state.total or None, note=state.note)

    return report


def _lines(console: Console) -> Callable[[CellProgress], None]:
    """For a file or a pipe: a line as each stage starts and ends."""
    told: set[tuple[int, str, bool]] = set()

    def report(state: CellProgress) -> None:
        ended = 0 < state.total == state.done
        mark = (state.number, state.stage, ended)
        if mark not in told:
            told.add(mark)
            how_far = f" {state.done}/{state.total}" if state.total else ""
            cell = f"cell {state.number}/{state.cells} {state.cell.row}"
            console.print(f"{cell}: {state.stage}{how_far} {state.note}", markup=False, soft_wrap=True)

    return report
