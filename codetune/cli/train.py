"""`codetune train`: tune a model as a recipe says; stopped or killed, the same command goes on where it was.

    codetune train recipes/train-lora.yaml
    codetune train train-lora.yaml --set method.lora_rank=8 --out runs/rank-8
    codetune train train-lora.yaml --nproc 2
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from codetune.cli.output import to_stderr, to_stdout
from codetune.cli.searching import show_search, told
from codetune.config import TrainRecipe, load_recipe, recipe_path
from codetune.export.card import write_card
from codetune.export.tuned import find
from codetune.models.machine import device, gpus
from codetune.records import Json
from codetune.train import bad_step
from codetune.train.finetune import ADAPTER, RESULT
from codetune.train.launch import launch, refuse_processes
from codetune.train.parallel import Group, joined
from codetune.train.precision import on_this_machine, slow_here
from codetune.train.resume import Progress as TrainProgress
from codetune.train.run import SAMPLES
from codetune.tuning import caution, finetune

app = typer.Typer(add_completion=False)
Report = Callable[[TrainProgress, int], None]
LINES = 10  # so many lines of progress where stderr is no terminal


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A training recipe (YAML), or the name of a shipped one.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="Change a value, as in --set train.train_tokens=100000.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: the recipe's `out`, else runs/<name>.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    nproc: Annotated[int, typer.Option(help="Train in so many processes on this machine, a GPU each: docs/parallel.md.")] = 1,
) -> None:
    """Tune a model as a recipe says. Stopped or killed, the same command goes on where it was."""
    loaded = load_recipe(recipe_path(recipe), TrainRecipe, overrides or [])
    folder = out or loaded.out or Path("runs") / loaded.name
    if nproc != 1:
        refuse_processes(nproc, gpus(), device(loaded.device))
        options = [*(f"--set={each}" for each in overrides or []), f"--out={folder}", *(["--json"] if as_json else [])]
        if code := launch(["train", str(recipe), *options], nproc):
            sys.exit(code)  # the first process has said why
        return
    with joined(device(loaded.device)) as group:
        _train(loaded, folder, as_json, group)


def _train(loaded: TrainRecipe, folder: Path, as_json: bool, group: Group) -> None:
    """The command in one process; of several, the first does the talking."""
    console = to_stderr()
    console.quiet = not group.leads
    before = (folder / RESULT).exists()
    if not before and (note := slow_here(on_this_machine(loaded))):
        console.print(f"note: {note}")

    def warn(line: str) -> None:
        console.print(f"warning: {line}", markup=False)

    if warning := caution(loaded):
        warn(warning)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        report = _bar(progress) if console.is_terminal else _lines(console)
        trials = told(console, report if console.is_terminal else lambda now, steps: None, warn)
        summary = finetune(loaded, folder, _once_resumed(console, report), warn, trials, group)
    if not group.leads:
        return
    if not before and loaded.architecture is None and (folder / RESULT).exists():
        write_card(find(str(folder)), folder / ADAPTER, loaded.model, "fp32" if loaded.method.name == "full" else "")
    if before:
        console.print(f"{folder} is finished already; nothing was trained anew")
    if summary["bad_steps"] and not (bad := summary["bad_steps"][-1])["passed_over"]:
        remedy = "lower method.learning_rate (it goes on from the checkpoint before), or pass over them with train.on_bad_step=roll_back"
        console.print(f"warning: training stopped before a {bad_step.told(bad)}; {remedy}")
    elif not summary["losses_finite"]:
        console.print(f"warning: training stopped at a {summary['stopped']}; lower method.learning_rate")
    if as_json:
        print(json.dumps({"adapter": str(folder / ADAPTER)} | summary))
    else:
        _show(summary, loaded, folder)


def _once_resumed(console: Console, report: Report) -> Report:
    """Says once where a stopped run goes on."""
    seen: list[int] = []

    def resumed(progress: TrainProgress, steps: int) -> None:
        if not seen and progress.step > 1:
            console.print(f"resumed at step {progress.step - 1} of {steps}")
        seen.append(progress.step)
        report(progress, steps)

    return resumed


def _bar(bars: Progress) -> Report:
    bar = bars.add_task("", total=None)

    def report(progress: TrainProgress, steps: int) -> None:
        bars.update(bar, completed=progress.step, total=steps, description=_state(progress))

    return report


def _lines(console: Console) -> Report:
    """For a file or a pipe: a line at every tenth of the steps."""

    def report(progress: TrainProgress, steps: int) -> None:
        if progress.step * LINES // steps > (progress.step - 1) * LINES // steps:
            left = progress.seconds / progress.step * (steps - progress.step)
            console.print(f"step {progress.step}/{steps}: {_state(progress)}, {left:.0f} s left")

    return report


def _state(progress: TrainProgress) -> str:
    rate = progress.tokens / progress.seconds if progress.seconds else 0.0
    best = "" if progress.best_val_loss is None else f", validation {progress.best_val_loss:.3f}"
    passed = "" if progress.last_pass_rate is None else f", passing {100 * progress.last_pass_rate:.0f}%"
    return f"loss {progress.last_loss or 0.0:.3f}{best}{passed}, {rate:,.0f} tokens/s"


def _show(summary: Json, recipe: TrainRecipe, folder: Path) -> None:
    console = to_stdout()
    if found := summary.get("search"):
        show_search(console, found)
    console.print(f"[bold]{escape(recipe.model)}[/bold], tuned by {recipe.method.name} on {escape(recipe.data.source)}")
    table = Table(box=None, show_header=False, padding=(0, 2))
    best = summary["best_val_loss"]
    table.add_row("loss", f"{_number(summary['first_loss'])} at first, {_number(summary['last_loss'])} at last")
    table.add_row("validation loss", _number(best) if best is not None else "not measured")
    if recipe.samples and summary["last_pass_rate"] is not None:
        rates = f"{100 * summary['last_pass_rate']:.1f}% of {escape(recipe.samples.benchmark)} at last"
        table.add_row("passing", f"{rates}, {100 * summary['best_pass_rate']:.1f}% at best; answers in {escape(str(folder / SAMPLES))}")
    if (overlap := summary.get("train_test_overlap")) and overlap["overlapping"]:
        fate = "left out" if overlap["left_out"] else "trained on all the same"
        table.add_row("overlap", f"{overlap['overlapping']} of {overlap['documents']} documents overlap benchmarks: {fate}")
    if held := summary.get("held_out"):
        before, after = held["bits_per_byte"]
        table.add_row("bits per byte", f"{before:.3f} before, {after:.3f} after, on {held['examples']} held-out examples")
    share = f"{100 * summary['trainable_share']:.3g}% ({summary['trainable_parameters']:,} of {summary['total_parameters']:,} parameters)"
    table.add_row("trained", share)
    table.add_row("seen", f"{summary['tokens']:,} tokens in {summary['steps']} steps, {summary['seconds']:.0f} s")
    if summary["dropped_long"]:
        table.add_row("left out", f"{summary['dropped_long']} examples longer than max_seq_len={recipe.train.max_seq_len}")
    table.add_row("speed", f"{summary['tokens_per_s']:,.0f} tokens/s ({summary['precision']}, packing {summary['packing']})")
    table.add_row("peak memory", f"{summary['peak_memory_bytes'] / 1e9:.2f} GB")
    table.add_row("adapter", f"{escape(str(folder / ADAPTER))} ({summary['adapter_bytes'] / 1e6:.1f} MB)")
    console.print(table)
    console.print(f"next: codetune evaluate --model {recipe.model} --adapter {folder} --benchmark basics-known", markup=False)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
