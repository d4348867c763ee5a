"""`codetune plan`: what a recipe would run, with a forecast of memory and time, what stands against it, and what is done already.

    codetune plan recipes/quickstart.yaml
    codetune plan train-lora.yaml --set train.max_seq_len=1024 --json
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from codetune.cli.output import to_stdout
from codetune.config import Sized, StudyRecipe, TrainRecipe, content_hash, load_tree, recipe_path, validate
from codetune.data.pack import Row, row_tokens, tokens_of
from codetune.data.tokenise import TokenisedExamples
from codetune.errors import UserError
from codetune.models.forecast import MemoryForecast, Pass, forecast_memory, forecast_seconds, largest, measure_rate, memory_there_is
from codetune.models.load import LoadedModel
from codetune.models.outline import load_outline, outline_of, settled, trained_parameters
from codetune.records import to_json
from codetune.runs import read_rows
from codetune.study.drive import read_result
from codetune.study.plan import CellConfig, plan_cells, unfinished
from codetune.train.finetune import RESULT, prepare
from codetune.train.plan import micro_batches
from codetune.train.resume import has_checkpoint
from codetune.train.run import METRICS, Material

app = typer.Typer(add_completion=False)
STUDY_KEYS = {"models", "methods", "benchmarks", "seeds"}


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: what it would train, a forecast of what that takes (or `problem`, why it cannot be), and how far it is."""

    row: str
    model: str
    data: str
    seed: int | None
    folder: str
    state: str
    size: str = ""  # the method's, where the recipe gives a share of parameters in its place
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    left_out: int | None = None  # examples longer than a row
    memory: MemoryForecast | None = None
    seconds: float | None = None
    problem: str = ""


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(help="A training or study recipe (YAML), or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set train.max_seq_len=1024.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the run or study, to see what is done there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a recipe would run: parameters, steps, forecasts of memory and training time, and what is done. Trains nothing.

    Exit code 1 if a run cannot be done as the recipe has it.
    """
    path, forecaster = recipe_path(recipe), Forecaster()
    tree = load_tree(path, overrides or [])
    if STUDY_KEYS & tree.keys():
        study = validate(tree, StudyRecipe, str(path))
        rows = _study(study.model_copy(update={"out": out}) if out else study, forecaster)
    else:
        single = validate(tree, TrainRecipe, str(path))
        folder = out or single.out or Path("runs") / single.name
        rows = [forecaster.planned(single, single.method.label or single.method.name, folder, _train_state(folder))]
    limit = memory_there_is()
    if as_json:
        print(json.dumps({"memory_bytes": limit, "runs": [to_json(row) | {"peak": row.memory and row.memory.peak} for row in rows]}))
    else:
        _show(rows, limit)
    if any(row.problem for row in rows):
        raise typer.Exit(1)


class Forecaster:
    """Keeps what several runs of a plan share: outlines of models, packed data, measured rates."""

    def __init__(self) -> None:
        self._loaded: dict[str, LoadedModel] = {}
        self._materials: dict[str, Material] = {}
        self._rates: dict[str, float] = {}

    def planned(self, recipe: TrainRecipe, row: str, folder: Path, state: str) -> Planned:
        """The forecast of one run; what is wrong with the recipe becomes its `problem`."""
        named: dict[str, Any] = {"row": row, "model": recipe.model, "data": recipe.data.source, "seed": recipe.seed}
        named |= {"folder": str(folder), "state": state}
        try:
            return Planned(**named, **self._forecast(recipe))
        except UserError as error:
            return Planned(**named, problem=str(error))

    def _forecast(self, recipe: TrainRecipe) -> dict[str, Any]:
        key = f"{recipe.model} {recipe.architecture}"
        loaded = self._loaded.setdefault(key, load_outline(recipe)) if key not in self._loaded else self._loaded[key]
        outline = outline_of(loaded.model)
        method = settled(recipe.method, outline)
        asked_by_share = method != recipe.method
        recipe = recipe.model_copy(update={"method": method})
        trainable = trained_parameters(outline, method)
        material = self._material(recipe, loaded)
        passes, validation = training_passes(material, recipe), validation_passes(material, recipe)
        big = largest(passes)
        rate_key = f"{key} {recipe.train.precision} {big.rows * big.width}"
        if rate_key not in self._rates:
            self._rates[rate_key] = measure_rate(outline, recipe.train, big.rows * big.width)
        return {
            "size": f"{method.size_key} {getattr(method, method.size_key)}" if isinstance(method, Sized) and asked_by_share else "",
            "trainable_parameters": trainable, "total_parameters": outline.parameters + (0 if method.name == "full" else trainable),
            "steps": len(material.steps), "tokens": _planned_tokens(material),
            "left_out": material.examples.dropped_long, "memory": forecast_memory(outline, method, recipe.train, passes),
            "seconds": forecast_seconds(outline, method, recipe.train, passes, validation, self._rates[rate_key]),
        }  # fmt: skip

    def _material(self, recipe: TrainRecipe, loaded: LoadedModel) -> Material:
        virtual = getattr(recipe.method, "num_virtual_tokens", 0)
        key = content_hash([recipe.model, recipe.data.model_dump(mode="json"), recipe.train.model_dump(mode="json"), recipe.seed, virtual])
        if key not in self._materials:
            self._materials[key] = prepare(recipe, loaded)
        return self._materials[key]


def training_passes(material: Material, recipe: TrainRecipe) -> list[Pass]:
    """Every forward pass of the training, in order."""
    targets = _targets(material.examples, material.rows)
    numbers = {row[0]: number for number, row in enumerate(material.rows)}  # a row is known by its first piece
    groups = (group for step in material.steps for group in micro_batches(step, material.rows, recipe.train.micro_batch_size))
    return [Pass(len(group), max(map(row_tokens, group)), sum(targets[numbers[row[0]]] for row in group)) for group in groups]


def validation_passes(material: Material, recipe: TrainRecipe) -> list[Pass]:
    """Every forward pass of all validations."""
    if material.validation is None:
        return []
    rows, size = material.validation_rows, recipe.train.micro_batch_size
    targets = _targets(material.validation, rows)
    once = [
        Pass(len(rows[at : at + size]), max(map(row_tokens, rows[at : at + size])), sum(targets[at : at + size]))
        for at in range(0, len(rows), size)
    ]
    return once * recipe.train.validations


def _planned_tokens(material: Material) -> int:
    """Text tokens seen in all steps."""
    tokens = tokens_of(material.rows)
    return sum(tokens[row] for step in material.steps for row in step)


def _targets(examples: TokenisedExamples, rows: Sequence[Row]) -> list[int]:
    """Tokens under the loss in each row."""
    return [sum(int(examples.targets(index)[start:stop].sum()) for index, start, stop in row) for row in rows]


def _study(recipe: StudyRecipe, forecaster: Forecaster) -> list[Planned]:
    cells = plan_cells(recipe)
    left = {cell.key for cell in unfinished(cells, [read_result(cell) for cell in cells])}
    return [_cell(cell, cell.key in left, forecaster) for cell in cells]


def _cell(cell: CellConfig, is_left: bool, forecaster: Forecaster) -> Planned:
    state = _train_state(cell.folder) if is_left else "done"
    if is_left and state == "done":
        state = "trained, to be evaluated"
    if cell.train is None:
        return Planned(cell.row, cell.model, cell.data_label, None, str(cell.folder), "done" if not is_left else "to be evaluated")
    return forecaster.planned(cell.train, cell.row, cell.folder, state)


def _train_state(folder: Path) -> str:
    if (folder / RESULT).exists():
        return "done"
    if has_checkpoint(folder):
        steps = [row["step"] for row in read_rows(folder / METRICS) if "step" in row]
        return f"stopped near step {steps[-1]}" if steps else "begun"
    return "not begun"


def _show(rows: Sequence[Planned], limit: int) -> None:
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
        if row.memory and row.memory.peak > limit:
            short = f"{row.memory.peak / 1e9:.1f} GB forecast, {limit / 1e9:.1f} GB there"
            console.print(f"[yellow]memory[/yellow] {escape(row.row)}: {short}; lower train.micro_batch_size or train.max_seq_len")
    if left_out := max((row.left_out or 0 for row in rows), default=0):
        console.print(f"{left_out} examples are longer than train.max_seq_len and are left out")
    waiting = [row.seconds for row in rows if row.seconds is not None and not row.state.startswith(("done", "trained"))]
    total = f"; in all {_duration(sum(waiting))} of training to go" if len(waiting) > 1 else ""
    console.print(f"* forecasts, from shapes and this machine's rate of matrix products; generation and scoring are not in them{total}")


def _columns(row: Planned) -> list[str]:
    if row.memory is None or row.trainable_parameters is None or row.total_parameters is None or row.seconds is None:
        return ["", "", "", "", "", "cannot run" if row.problem else row.state]
    share = f"{row.trainable_parameters:,} ({100 * row.trainable_parameters / row.total_parameters:.3g}%)"
    share = f"{row.size}: {share}" if row.size else share
    return [share, f"{row.steps:,}", f"{row.tokens:,}", f"{row.memory.peak / 1e9:.2f} GB", _duration(row.seconds), row.state]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
