"""How `codetune train` tells of a search: a line when a trial ends, and a table of all of them."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codetune.records import Json
from codetune.train.search import FINISHED, RUNNING, Told, Trial


def told(console: Console, step: Callable[..., None], warn: Callable[[str], None]) -> Told:
    """Tells the console of trials; `step` is told of their steps."""

    def trial(now: Trial) -> None:
        if now.state != RUNNING:
            console.print(f"trial {now.number}: {settings_of(now.settings)}: {result_of(now)} ({now.seconds:.0f} s)", markup=False)

    return Told(trial, step, warn)


def settings_of(settings: Json) -> str:
    """As `learning_rate=0.002, init=pissa`."""
    return ", ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items())


def result_of(trial: Trial) -> str:
    if trial.cause:
        return f"failed: {trial.cause}"
    rate = "" if trial.pass_rate is None else f"passing {100 * trial.pass_rate:.1f}%, "
    loss = "" if trial.val_loss is None else f"validation loss {trial.val_loss:.4f}"
    return f"{rate}{loss}" if trial.state == FINISHED else f"cut short after {trial.steps} steps, {rate}{loss} at best"


def show_search(console: Console, found: Json) -> None:
    """All trials, best first, with the default and the best marked; then what they cost."""
    trials = [Trial(**row) for row in found["trials"]]
    by_rate = found["monitor"] == "pass_rate"
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("trial", *trials[0].settings, "result", ""):
        table.add_column(heading)
    for trial in sorted(trials, key=lambda trial: (trial.standing(by_rate), trial.number)):
        marks = ["best"] * (trial.number == found["best"]["number"]) + ["default"] * (trial.number == 0)
        values = [settings_of({key: value}).partition("=")[2] for key, value in trial.settings.items()]
        table.add_row(str(trial.number), *values, escape(result_of(trial)), ", ".join(marks))
    spent = found["spent"]
    console.print(f"[bold]search[/bold]: {len(trials)} trials, {spent['tokens']:,} tokens, {spent['seconds']:.0f} s")
    console.print(table)
