"""`codetune plan`: what a recipe would run, with a forecast of memory and time, what stands against it, and what is done already.

    codetune plan recipes/quickstart.yaml
    codetune plan train-lora.yaml --set train.max_seq_len=1024 --json
    codetune plan train-lora.yaml --set model=codellama-7b --set train.precision=bf16 --gpu 24GB
    codetune plan train-lora.yaml --dry-run
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from codetune.cli.output import to_stdout
from codetune.config import StudyRecipe, TrainRecipe, load_tree, recipe_path, validate
from codetune.errors import UserError
from codetune.models.forecast import Machine, gpu_called, machine_here
from codetune.records import Json, to_json
from codetune.runs import read_rows
from codetune.study.budgets import equal_budget
from codetune.study.drive import is_found, read_result
from codetune.study.forecasting import Forecaster, Planned
from codetune.study.plan import CellConfig, SearchJob, plan_cells, plan_searches, unfinished
from codetune.train.dry_run import DryRun
from codetune.train.finetune import RESULT
from codetune.train.fitting import advice
from codetune.train.resume import has_checkpoint
from codetune.train.run import METRICS

app = typer.Typer(add_completion=False)
STUDY_KEYS = {"models", "methods", "benchmarks", "seeds"}


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(help="A training or study recipe (YAML), or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set train.max_seq_len=1024.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the run or study, to see what is done there.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Forecast for a GPU that is not here: its memory, as 24GB, or a name, as H100.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Also run two steps of the longest rows, on random weights.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a recipe would run: parameters, steps, forecasts of memory and training time, and what is done. Trains nothing.

    A model that is not on this machine is planned by its published shape. Exit code 1 if a run cannot be done as the recipe has it.
    """
    path = recipe_path(recipe)
    tree = load_tree(path, overrides or [])
    is_study = bool(STUDY_KEYS & tree.keys())
    asked = "auto" if is_study else validate(tree, TrainRecipe, str(path)).device
    machine = gpu_called(gpu) if gpu else machine_here(asked)
    if dry_run and not machine.here:
        raise UserError(f"--dry-run runs here, and {machine.name} is not here: leave out --gpu or --dry-run")
    forecaster = Forecaster(machine, dry_run)
    if is_study:
        study = validate(tree, StudyRecipe, str(path))
        rows = _study(study.model_copy(update={"out": out}) if out else study, forecaster)
    else:
        single = validate(tree, TrainRecipe, str(path))
        folder = out or single.out or Path("runs") / single.name
        rows = [forecaster.planned(single, single.method.label or single.method.name, folder, _train_state(folder))]
    if as_json:
        print(json.dumps({"memory_bytes": machine.memory_bytes, "machine": machine.name, "runs": [_as_json(row) for row in rows]}))
    else:
        _show(rows, machine)
    if any(row.problem for row in rows):
        raise typer.Exit(1)


def _as_json(row: Planned) -> dict[str, Json]:
    found = to_json(row)
    assert isinstance(found, dict)
    if row.memory is not None:
        found |= {"peak": row.memory.peak, "training_peak": row.memory.training}
    return found | ({"peak": None} if row.memory is None else {})


def _study(recipe: StudyRecipe, forecaster: Forecaster) -> list[Planned]:
    cells = plan_cells(recipe)
    left = {cell.key for cell in unfinished(cells, [read_result(cell) for cell in cells])}
    searches = [_search(job, forecaster) for job in plan_searches(recipe)]
    return [*searches, *(_cell(cell, cell.key in left, forecaster) for cell in cells)]


def _search(job: SearchJob, forecaster: Forecaster) -> Planned:
    """All trials of a search, if none is cut short."""
    config = job.train.search
    assert config is not None
    row, state = f"search for {job.row}", "done" if is_found(job) else "begun" if (job.folder / "search.db").exists() else "not begun"
    train = job.train.train.part(config.budget_share)
    one = forecaster.planned(job.train.model_copy(update={"train": train}), row, job.folder, state)
    seconds, tokens = one.seconds and one.seconds * config.trials, one.tokens and one.tokens * config.trials
    return replace(one, model=job.called, data=job.data_label, seed=None, seconds=seconds, tokens=tokens)


def _cell(cell: CellConfig, is_left: bool, forecaster: Forecaster) -> Planned:
    state = _train_state(cell.folder) if is_left else "done"
    if is_left and state == "done":
        state = "trained, to be evaluated"
    if cell.train is None:
        return Planned(cell.row, cell.called, cell.data_label, None, str(cell.folder), "done" if not is_left else "to be evaluated")
    try:
        recipe = equal_budget(cell.train, cell.budget, cell.reference)[0]
    except UserError as error:
        return Planned(cell.row, cell.called, cell.data_label, cell.seed, str(cell.folder), state, problem=str(error))
    return replace(forecaster.planned(recipe, cell.row, cell.folder, state), model=cell.called, data=cell.data_label)


def _train_state(folder: Path) -> str:
    if (folder / RESULT).exists():
        return "done"
    if has_checkpoint(folder):
        steps = [row["step"] for row in read_rows(folder / METRICS) if "step" in row]
        return f"stopped near step {steps[-1]}" if steps else "begun"
    return "not begun"


def _show(rows: Sequence[Planned], machine: Machine) -> None:
    console = to_stdout()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    several = [name for name in ("model", "data", "seed") if len({getattr(row, name) for row in rows} - {None}) > 1]
    for column in ("run", *several):
        table.add_column(column)
    for column in ("trained", "steps", "tokens", "memory*", "time*"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("state")
    for row in rows:
        named = [str(value) if (value := getattr(row, name)) is not None else "" for name in several]
        table.add_row(*map(escape, [row.row, *named, *_columns(row)]))
    first = rows[0]
    constant = {"model": first.model, "data": first.data}
    console.print(", ".join(f"{name} {value}" for name, value in constant.items() if name not in several), markup=False)
    console.print(table)
    for problem, count in Counter(row.problem for row in rows if row.problem).items():
        which = ", ".join(dict.fromkeys(row.row for row in rows if row.problem == problem))
        console.print(f"[red]cannot run[/red] {escape(which)} ({count}): {escape(problem)}")
    for row in rows:
        if row.memory and row.memory.peak > machine.memory_bytes:
            console.print(f"[yellow]memory[/yellow] {escape(row.row)}: {escape(advice(row.memory.peak, machine, row.changes))}")
        if row.measured and row.memory:
            console.print(f"dry run {row.row}: {_dry_run(row.measured, row.memory.training)}", markup=False)
    for line in dict.fromkeys(_of_memory(row) for row in rows if row.memory):
        console.print(line, markup=False)
    if any(row.assumed for row in rows):
        console.print("the model is not on this machine: planned by its published shape, with full rows of train.max_seq_len tokens")
    if left_out := max((row.left_out or 0 for row in rows), default=0):
        console.print(f"{left_out} examples are longer than train.max_seq_len and are left out")
    waiting = [row.seconds for row in rows if row.seconds is not None and not row.state.startswith(("done", "trained"))]
    total = f"; in all {_duration(sum(waiting))} of training to go" if len(waiting) > 1 else ""
    rate = " and this machine's rate of matrix products" if machine.here else ""
    console.print(f"* forecasts for {machine.name}, from shapes{rate}; generation and scoring are not in them{total}", markup=False)


def _columns(row: Planned) -> list[str]:
    if row.memory is None or row.trainable_parameters is None or row.total_parameters is None:
        return ["", "", "", "", "", "cannot run" if row.problem else row.state]
    share = f"{row.trainable_parameters:,} ({100 * row.trainable_parameters / row.total_parameters:.3g}%)"
    share = f"{row.size}: {share}" if row.size else share
    seconds = "" if row.seconds is None else _duration(row.seconds)
    return [share, f"{row.steps:,}", f"{row.tokens:,}", f"{row.memory.peak / 1e9:.2f} GB", seconds, row.state]


def _of_memory(row: Planned) -> str:
    """What a run's peak is made of, and what else it takes."""
    assert row.memory is not None
    memory = row.memory
    names = ("process", "weights", "gradients", "optimiser", "activations", "logits", "temporary", "kernels")
    parts = [f"{name} {getattr(memory, name) / 1e9:.2f}" for name in names if getattr(memory, name) >= 5e6]
    rest = [f"{name} {getattr(memory, name) / 1e9:.2f}" for name in ("loading", "reloading", "generation", "disk")]
    return f"{row.row} in GB: {' + '.join(parts)} = {memory.training / 1e9:.2f}; at other times {', '.join(rest)}"


def _dry_run(measured: DryRun, forecast: int) -> str:
    speed = f"{measured.seconds:.1f} s for a step of {measured.tokens:,} tokens"
    return f"{measured.peak / 1e9:.2f} GB measured, {forecast / 1e9:.2f} GB forecast ({forecast / measured.peak:.2f} of it); {speed}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
