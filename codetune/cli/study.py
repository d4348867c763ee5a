"""`codetune study`: run a recipe's whole grid, see how far it is, write its report.

    codetune study run recipes/quickstart.yaml
    codetune study status runs/quickstart
    codetune study report runs/quickstart --json
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from codetune.config import StudyRecipe, load_recipe, recipe_path
from codetune.errors import UserError
from codetune.study.cells import Cell, read_study
from codetune.study.drive import DONE, CellProgress, run_study
from codetune.study.gates import is_valid
from codetune.study.report import Report, report_json, write_report

app = typer.Typer(add_completion=False, no_args_is_help=True)
TINY = ("train.train_tokens=20000", "train.validations=1", "max_problems=20")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A study recipe (YAML), or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set seeds=3.")] = None,
    out: Annotated[Path | None, typer.Option(help="The study's folder. Default: runs/<name>.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A trial of minutes: few tokens, 20 problems; in a folder of its own.")] = False,
    engine: Annotated[str, typer.Option(help="local; ray is not there yet.")] = "local",
) -> None:
    """Run all cells of a study that are not done yet, then write the report."""
    if engine != "local":
        raise UserError(f"--engine {engine}: only 'local' is there so far")
    loaded = load_recipe(recipe_path(recipe), StudyRecipe, [*(overrides or []), *(TINY if tiny else ())])
    if out is not None or tiny:
        loaded = loaded.model_copy(update={"out": out or Path("runs") / f"{loaded.name}-tiny"})
    conclude(run_with_progress(loaded))


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="The folder that `study run` wrote.")]) -> None:
    """Which cells are done, what is wrong with those that are invalid, and how far the others are."""
    study = read_study(folder)
    table = Table(box=None, show_header=False, padding=(0, 2))
    for cell in study.cells:
        state = "[green]done[/green]" if is_valid(cell.gates) else "[red]invalid[/red]"
        table.add_row(state, escape(cell.row), escape(cell.data), f"seed {cell.seed}", escape(_wrong_with(cell)))
    for cell_left in study.unfinished:
        table.add_row("[yellow]open[/yellow]", escape(cell_left.label), escape(cell_left.state), "")
    Console(highlight=False, soft_wrap=True).print(table)


def _wrong_with(cell: Cell) -> str:
    """What is wrong with a finished cell in a line: its invalid gates, then what its evidence points to and what to do."""
    said = [gate.message for gate in cell.gates if gate.level == "invalid"]
    said += [f"{found.title} ({found.grade}): {found.evidence}; {found.remedy}" for found in cell.diagnosis[:1]]
    return "; ".join(said)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `study run` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all cells.")] = False,
) -> None:
    """Write report.html, report.md and plots/ anew from what is in the folder."""
    if as_json:
        print(json.dumps(report_json(folder)))
    else:
        conclude(write_report(folder))


def run_with_progress(recipe: StudyRecipe) -> Report:
    """The study, with a bar for its cells and one for the present stage on a terminal, plain lines elsewhere."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        return run_study(recipe, _bars(progress) if console.is_terminal else _lines(console))


def conclude(written: Report) -> None:
    """The headline and where the report is, on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    for headline in written.headlines:
        console.print(escape(headline))
    for unfinished in written.unfinished:
        console.print(f"[yellow]not finished:[/yellow] {escape(unfinished.label)}: {escape(unfinished.state)}")
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
